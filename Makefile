# Everything a contributor does, one word each. What a Debian machine lacks for it is installed first (.ci/setup).

# rustup's folder is not in every shell's PATH.
export PATH := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH)

# rebar3 colours even a log file, unless the terminal cannot.
ifndef MAKE_TERMOUT
export TERM := dumb
endif

.PHONY: help build demo test memcheck mutations check bench setup clean

help:
	@echo 'make demo      three real nodes share a table: joined, killed, cut apart, healed (about a minute)'
	@echo 'make test      all tests: Rust, Common Test on real nodes, ExUnit, projects that depend on Ferrets, memcheck'
	@echo "make memcheck  of these, the library's suites under AddressSanitizer"
	@echo 'make mutations takes each rule of the protocol out of the core, and sees that a test fails (6 minutes)'
	@echo 'make check     the linters: formatting, clippy, rustdoc, compiler warnings, xref, dialyzer'
	@echo 'make bench     speed and memory beside ets and mnesia: the whole table takes long, QUICK=1 two minutes,'
	@echo '               ONLY="groups or rows" a part of it; CETS_EBIN=folder measures cets as well'
	@echo 'make build     the native library and the Erlang and Elixir code'
	@echo 'make clean     removes what the others made'

build: setup
	@rebar3 compile
	@mix compile

demo: setup
	@demo/run

test: setup
	@.ci/test

memcheck: setup
	@test/memcheck/run

mutations: setup
	@native/ferrets_core/tests/mutations/run

check: setup
	@.ci/check

# The variables come from the command line or the environment.
bench: export QUICK := $(QUICK)
bench: export ONLY := $(ONLY)
bench: export CETS_EBIN := $(CETS_EBIN)
bench: setup
	@bench/run

setup:
	@.ci/setup

clean:
	rm -rf _build priv native/target erl_crash.dump
