#![doc = "libFuzzer's way into [`minerva_fuzz::text`]."]
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| minerva_fuzz::run(minerva_fuzz::text::check, bytes));
