//! The HTTP API of Minerva: OpenAI conventions over minerva-engine.
