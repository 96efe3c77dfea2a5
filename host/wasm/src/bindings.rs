//! What `bindgen!` makes of the WIT: one world that is every kind of plugin, of which a component exports a part.
#![allow(unreachable_pub, missing_docs, reason = "generated")]
#![allow(clippy::all, clippy::pedantic, reason = "generated")]

wasmtime::component::bindgen!({
    path: "../../wit",
    inline: "
        package minerva:host-bindings;

        world everything {
            include minerva:plugin/sampler-plugin@0.1.0;
            include minerva:plugin/template-plugin@0.1.0;
            include minerva:plugin/stream-plugin@0.1.0;
            import minerva:plugin/store@0.1.0;
        }
    ",
    world: "minerva:host-bindings/everything",
    imports: { default: trappable },
    with: {
        "minerva:plugin/constraints.token-set": crate::imports::constraints::TokenSet,
        "minerva:plugin/constraints.grammar": crate::imports::grammar::Grammar,
    },
});
