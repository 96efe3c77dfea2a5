//! WebAssembly components behind the plugin traits of minerva-engine.
