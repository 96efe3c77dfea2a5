// Makes a component of what Go built: node component.mjs WIT WORLD CORE OUT
import { readFile, writeFile } from "node:fs/promises";
import { componentEmbed, componentNew, parse } from "@bytecodealliance/jco";

const [wit, world, core, out] = process.argv.slice(2);
const witSource = await readFile(wit, "utf8");
const embedded = await componentEmbed({ binary: new Uint8Array(await readFile(core)), witSource, world });
const wasi = await parse(await readFile(new URL("wasi.wat", import.meta.url), "utf8"));
await writeFile(out, await componentNew(embedded, [["wasi_snapshot_preview1", wasi]]));
