//! Real, if tiny, models in llama.cpp.

mod invariance;
mod loading;
mod models;
mod sequences;
mod vocabulary;
