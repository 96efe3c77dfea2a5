"""What the model can say about Minerva and its plugins."""

from .grammar import ask, pick, say
from .turns import Turn

M = "[minerva|minerva|the minerva host|the minerva project|this minerva]"
TOPICS = {
    "what": ([f"what is {M}?", f"[tell me|explain to me|explain] what {M} is.", f"[tell me|say something|talk] about {M}.", f"what does {M} do?", f"[explain|describe] {M}[| to me| briefly| in one sentence].", f"what is {M} [for|good for|used for|about]?",
              f"I [have never heard of|do not know|want to know about|am new to|want to understand] {M}.", f"can you [explain|describe] {M}?", f"give me a [short |]summary of {M}.", f"what [kind of|sort of] [program|software|thing|project] is {M}?"],
             ["Minerva is a native host for local language models, written in Rust. It runs models with llama.cpp and lets WebAssembly plugins change how they generate text.",
              "Minerva is a program written in Rust that runs language models on your own machine. WebAssembly plugins can change how it samples, formats and streams text."], "The user asks what Minerva is."),
    "plugin": (["what is a plugin?", f"what is a [plugin|minerva plugin|wasm plugin|plug-in] [in|for|of] {M}?", f"what [are|do] plugins [do|for]?", "explain [plugins|what a plugin is|the plugins][| to me].", f"what can a plugin [do|change]?", f"[tell me|say something] about [plugins|the plugins of {M}].", f"what does a [minerva |]plugin do?", f"why [would I need|should I use|are there] plugins?", "what are [minerva |]plugins?"],
               ["A plugin is a sandboxed WebAssembly component. It can be a sampler, a prompt template or a stream processor.", "A plugin is a small WebAssembly component that changes how Minerva picks tokens, builds prompts or streams text. It runs in a sandbox."], "The user asks about plugins."),
    "write": (["how [do|can|could|would|should] I [write|make|build|create|develop] a [plugin|minerva plugin|sampler plugin|new plugin|plug-in|plugin for minerva]?", "[show me|tell me|explain] how to [write|make|build|create] a [plugin|minerva plugin|plugin for minerva].", "I want to [write|make|build|create|develop] a [plugin|minerva plugin|plugin for minerva].", "what do I need to [write|make|build] a plugin?", "how [is|are] [a plugin|plugins] [written|made|built]?", "help me [write|make|build] a plugin.", "what are the steps to [write|make|build] a plugin?", "[how to|where do I start to] [write|make|build|create] a plugin?"],
              ["Write a component for Minerva's WIT interface, for example in Rust with the SDK. Build it to WebAssembly, put it in the plugins folder and name it in your request.",
               "Take the SDK, implement the WIT interface, and compile to a WebAssembly component. Then put the file in the plugins folder and name it in a request."], "The user wants to write a plugin. I give the steps."),
    "kinds": (["[which|what] [kinds|types|sorts] of plugins [are there|exist|does minerva have|does minerva support|can I write]?", "how many [kinds|types|sorts] of plugins are there?", "[list|name] the [plugin kinds|plugin types|kinds of plugins|types of plugins].", "what plugin [kinds|types] are there?"],
              ["There are three kinds: samplers, prompt templates and stream processors."], "The user asks for the kinds of plugins: there are three."),
    "sampler": (["what is a sampler[| plugin| in minerva]?", "what does a sampler[| plugin] do?", "[explain|describe] [samplers|what a sampler is|the sampler][| to me].", "what are samplers[| for]?", "tell me about [samplers|sampler plugins]."],
                ["A sampler picks the next token from the model's scores. In Minerva a sampler can be a plugin."], "The user asks what a sampler is."),
    "template": (["what is a [prompt template|template plugin|chat template|template]?", "what does a [prompt template|template plugin|chat template|template] do?", "[explain|describe] [prompt templates|what a template is|chat templates][| to me].", "what are [prompt templates|template plugins|templates] for?"],
                 ["A prompt template turns the messages of a chat into the text that the model reads."], "The user asks what a template is."),
    "stream": (["what is a [stream processor|streaming processor|stream plugin|post-processor]?", "what does a [stream processor|stream plugin|post-processor] do?", "[explain|describe] [stream processors|what a stream processor is][| to me].", "what are stream processors[| for]?"],
               ["A stream processor reads the text while it is generated and turns it into events such as text, reasoning or tool calls."], "The user asks what a stream processor is."),
    "language": ([f"[in which language|in what language|what language] is {M} written[| in]?", f"what is {M} [written|programmed|coded] in?", f"which [programming |]language does {M} use?", f"is {M} written in [rust|python|go|java]?"],
                 ["Minerva is written in Rust."], "The user asks for the language of Minerva: Rust."),
    "guest": (["[in which languages|in what languages|in which language] can I write [a plugin|plugins]?", "can I write [a plugin|plugins] in [python|go|c|rust|javascript|java]?", "which languages can plugins be written in?", "what languages [work|are possible] for plugins?", "do plugins have to be in rust?"],
              ["You can write a plugin in any language that compiles to a WebAssembly component. Rust is the easiest."], "The user asks for plugin languages: any that compile to a component."),
    "safe": (["are plugins [safe|secure|dangerous]?", "can a plugin [crash|harm|break] [minerva|my computer|the host|the server|my machine]?", "is it safe to [run|use|install] [a plugin|plugins|a stranger's plugin]?", "what if a plugin [crashes|hangs|is bad|loops forever]?", "how are plugins [isolated|sandboxed|limited|protected]?"],
             ["Plugins run in a sandbox with limits on time and memory, so a bad plugin cannot harm the host."], "The user asks about safety: plugins are sandboxed and limited."),
    "server": ([f"does {M} have [an API|a server|an HTTP server|an HTTP API]?", f"how do I [talk to|connect to|call|use] {M} [from my program|over HTTP|from an app|with a client]?", f"is {M} [compatible with OpenAI|OpenAI compatible]?", f"can I use [an openai client|openai clients|my openai client] with {M}?", f"what API does {M} [have|offer|speak]?"],
               ["Yes, Minerva serves an OpenAI-compatible HTTP API, so you can point any OpenAI client at it.", "Minerva has an HTTP server that is compatible with the OpenAI API."], "The user asks about the API: it is OpenAI compatible."),
    "library": ([f"can I [embed|use] {M} [as a library|in my program|in my rust program|in my own program|inside my app]?", f"is {M} a library?", f"is there a [rust |]library for {M}?", f"how do I embed {M}?"],
                ["Yes, Minerva is also a Rust library that you can embed in your own program."], "The user asks about embedding: Minerva is also a library."),
    "models": ([f"[which|what] models [can|does] {M} [run|load|support|use]?", f"what [model format|file format|format] does {M} [use|need|load|support]?", f"can {M} [run|load] [GGUF files|llama models|my model|any model]?", f"how do I [load|run|add] a model[| in minerva| with minerva]?"],
               ["Minerva runs any GGUF model that llama.cpp can run."], "The user asks about models: GGUF files."),
    "engine": ([f"what is under {M}?", f"which [engine|library|backend] does {M} use[| to run models]?", f"does {M} use llama.cpp?", f"what runs the model[| in minerva]?", f"is {M} [built|based] on llama.cpp?"],
               ["Minerva uses llama.cpp to run the models and wasmtime to run the plugins."], "The user asks for the engine: llama.cpp and wasmtime."),
    "gpu": ([f"does {M} [need|require] a GPU?", f"can {M} [run on a CPU|use my GPU|use a GPU|use my graphics card|run without a GPU]?", f"[which|what] [devices|hardware] does {M} [support|need|run on]?", f"do I need a [GPU|graphics card] for {M}?"],
            ["No GPU is needed: Minerva runs on a CPU, and it can use Metal, CUDA or Vulkan if you have it."], "The user asks about devices: CPU, Metal, CUDA or Vulkan."),
    "licence": ([f"what [licence|license] does {M} have?", f"is {M} [free|open source]?", f"under [which|what] [licence|license] is {M}?", f"may I use {M} [for free|at work]?", f"what is the [licence|license] of {M}?"],
                ["Minerva is free software under the Apache 2.0 licence."], "The user asks for the licence: Apache 2.0."),
    "local": ([f"does {M} send my [data|text|chats|messages] [to the cloud|to a server|anywhere]?", f"does {M} [need|work without] [the internet|a network|internet]?", f"is my data [safe|private] [with|in] {M}?", f"does {M} run [offline|locally|in the cloud]?"],
              ["Minerva runs on your own machine, so your text stays with you."], "The user asks about data: Minerva is local."),
    "wasm": (["what is [webassembly|wasm]?", "what does [webassembly|wasm] mean?", "[explain|describe] [webassembly|wasm][| to me].", "why does minerva use [webassembly|wasm]?", "why [webassembly|wasm]?"],
             ["WebAssembly is a portable code format that runs in a sandbox. Minerva uses it for plugins."], "The user asks about WebAssembly."),
    "token": (["what is a token?", "what are tokens?", "[explain|describe] [tokens|what a token is][| to me].", "what does token mean?"],
              ["A token is a small piece of text, such as a word or a part of a word."], "The user asks what a token is."),
    "llm": (["what is a [language model|large language model|LLM]?", "what are [language models|LLMs]?", "[explain|describe] [language models|what a language model is|LLMs][| to me]."],
            ["A language model is a program that predicts the next piece of a text."], "The user asks what a language model is."),
}


def about_minerva(rng):
    topic = pick(rng, sorted(TOPICS) + ["what", "what", "plugin", "plugin", "write", "write"])
    asks, answers, think = TOPICS[topic]
    return [Turn("minerva", ask(rng, asks).replace("minerva", "Minerva" if rng.random() < 0.75 else "minerva"), say(rng, answers), think, accept=answers)]
