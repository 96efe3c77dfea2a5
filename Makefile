# Two commands do everything on a fresh machine that has Rust: `make run` serves, `make test` tests.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help run test load fuzz check setup plugins guests clients bench bench-plugins bench-hostile clean

# rustup's programs, where the shell does not know them.
export PATH := $(HOME)/.cargo/bin:$(PATH)

WASM_TARGET := wasm32-wasip2
PLUGINS := target/plugins
ARGS ?=

help:
	@echo "make run      build everything and serve the built-in model with the plugins on 127.0.0.1:8080"
	@echo "              (ARGS='-m FILE --port 9000' for anything of 'minerva serve --help')"
	@echo "make test     run every test"
	@echo "make load     200 clients on 16 sequences for two minutes"
	@echo "make fuzz     what reads other people's bytes, under libFuzzer for ten minutes each (SECONDS=60 for less)"
	@echo "make check    formatting, clippy and rustdoc, warnings as errors"
	@echo "make plugins  build the plugins to $(PLUGINS)/"
	@echo "make bench    run the benchmarks"
	@echo "make bench-plugins, bench-hostile   what plugins cost, and what bad ones cost their neighbours"

run: setup plugins
	@echo "--- building minerva (the first time takes some minutes)"
	cargo build --release -p minerva
	target/release/minerva serve --plugins-dir $(PLUGINS) $(ARGS)

test: setup plugins
	@echo "--- testing the plugins' own logic"
	cd plugins && cargo test --workspace
	@echo "--- testing the host"
	cargo test --workspace --no-fail-fast

# A shorter form of it is among the tests.
load: setup plugins
	MINERVA_LOAD_SECONDS=120 cargo test --workspace --test end_to_end load:: -- --nocapture --test-threads 1

# What it finds becomes a file in host/fuzz/found, and an ordinary test fails until it is mended.
SECONDS ?= 600
fuzz: setup
	host/fuzz/run $(SECONDS)

check: setup
	cargo fmt --all --check
	cd plugins && cargo fmt --all --check
	cd tests/guests && cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cd plugins && cargo clippy --workspace --target $(WASM_TARGET) -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

bench: setup plugins
	cargo bench --workspace

# What calls of each plugin take; then 16 clients of a whole server with a vocabulary of 151,936 tokens: without more, with
# samplers built in, and with the same in WebAssembly, in turn. Goals: a plugin keeps 98 % of the throughput of what is
# built in, a chain of four 95 %.
ROUNDS ?= 7
BENCH_MODEL := target/bench-0.5b.gguf
BENCH_HTTP := target/release/minerva bench http --clients 16 --requests 2 --tokens 64 --rounds $(ROUNDS)
BENCH_SERVE := -- -m $(BENCH_MODEL) -np 16 --plugins-dir $(PLUGINS)
FOUR := "samplers":[{"id":"dry"},{"id":"top-n-sigma","args":{"n":3}},{"id":"min-p"},{"id":"xtc"}]

bench-plugins: setup plugins
	cargo build --release -p minerva
	target/release/minerva plugin bench $(PLUGINS)/*.wasm
	test -f $(BENCH_MODEL) || target/release/minerva models synthesize --preset 0.5b -o $(BENCH_MODEL)
	$(BENCH_HTTP) --with '{"min_p":0.05}' --with '{"minerva":{"samplers":[{"id":"min-p"}]}}' $(BENCH_SERVE)
	$(BENCH_HTTP) --with '{"dry_multiplier":0.8,"top_n_sigma":3,"min_p":0.05,"xtc_probability":0.5}' \
	    --with '{"minerva":{$(FOUR)}}' $(BENCH_SERVE)

bench-hostile: setup plugins
	cargo test --release -p minerva --test end_to_end -- --ignored --nocapture neighbours_keep

# A plugin's file is called as requests call it: sampler-min-p becomes min-p.wasm.
plugins: setup
	@echo "--- building the plugins"
	cd plugins && cargo build --release --workspace --target $(WASM_TARGET)
	@mkdir -p $(PLUGINS)
	@for file in plugins/target/$(WASM_TARGET)/release/{sampler,template,stream}_*.wasm; do \
	    name=$$(basename "$$file" .wasm | sed -E 's/^(sampler|template|stream)_//; s/_/-/g'); \
	    cp "$$file" "$(PLUGINS)/$$name.wasm"; \
	done

# --- what a bare machine lacks ---------------------------------------------------------------------------------

HAVE_CMAKE := $(shell command -v cmake)
HAVE_CLANG := $(shell command -v clang-22 clang-21 clang-20 clang-19 clang-18 clang | head -n 1)
HAVE_LIBCLANG := $(shell ls /usr/lib/llvm-*/lib/libclang.so* /usr/lib*/libclang.so* /usr/lib/*/libclang.so* /usr/lib/*/libclang-[0-9]*.so* \
    /Library/Developer/CommandLineTools/usr/lib/libclang.dylib \
    /Applications/Xcode.app/Contents/Developer/Toolchains/XcodeDefault.xctoolchain/usr/lib/libclang.dylib \
    /opt/homebrew/opt/llvm/lib/libclang.dylib 2>/dev/null | head -n 1)
SUDO := $(shell [ "$$(id -u)" = 0 ] || command -v sudo)

setup:
	@command -v cargo >/dev/null || { echo "Rust is missing: install it from https://rustup.rs, then try again"; exit 1; }
ifeq ($(and $(HAVE_CMAKE),$(HAVE_CLANG),$(HAVE_LIBCLANG)),)
	@echo "--- installing cmake, clang and libclang (llama.cpp is C++, and clang makes it twice as fast)"
	@if command -v apt-get >/dev/null; then \
	    $(SUDO) apt-get update -qq; \
	    for version in 21 20 19 18; do \
	        if apt-cache show "clang-$$version" >/dev/null 2>&1; then suffix="-$$version"; break; fi; \
	    done; \
	    $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq build-essential cmake \
	        "clang$$suffix" "libclang$$suffix-dev"; \
	elif command -v dnf >/dev/null; then \
	    $(SUDO) dnf install -y cmake clang clang-devel gcc-c++ make; \
	elif command -v pacman >/dev/null; then \
	    $(SUDO) pacman -S --needed --noconfirm cmake clang make; \
	elif command -v brew >/dev/null; then \
	    xcode-select -p >/dev/null 2>&1 || xcode-select --install; brew install cmake; \
	else \
	    echo "install cmake, clang (18 or newer) and libclang by hand, then try again"; exit 1; \
	fi
endif
	@rustc --print target-libdir --target $(WASM_TARGET) 2>/dev/null | xargs -I{} test -d {} \
	    || { echo "--- adding the Rust target $(WASM_TARGET)"; rustup target add $(WASM_TARGET); }

clean:
	cargo clean
	rm -rf plugins/target tests/guests/target
