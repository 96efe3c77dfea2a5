//! llama.cpp behind the model trait of minerva-engine.
