//! Model files for Minerva: reading, checking and making GGUF.
