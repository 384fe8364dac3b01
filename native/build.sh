#!/bin/sh
# Builds the native library and puts it at priv/ferrets_nif.so.
#
# rebar3 (pre_hooks in rebar.config) and Mix (Mix.Tasks.Compile.FerretsNative in mix.exs) both call this script, in
# whatever folder Ferrets lies: a checkout, deps/, _checkouts/, _build/default/lib/. It needs cargo and a C linker,
# and, for the first build, crates.io.
set -eu

native=$(cd "$(dirname "$0")" && pwd)
priv=$native/../priv
cd "$native"

fail() {
    echo "ferrets: $1" >&2
    exit 1
}

# An editor or a service often starts without rustup's folder in its PATH.
PATH=${CARGO_HOME:-${HOME:-/root}/.cargo}/bin:$PATH

minimum=$(sed -n 's/^rust-version = "\([0-9.]*\)"/\1/p' Cargo.toml)
for tool in cargo rustc; do
    # "cargo 1.95.0 (f2d3ce0bd 2026-03-21)"
    version=$("$tool" --version 2>/dev/null | cut -d' ' -f2) || version=
    [ -n "$version" ] ||
        fail "building the native library needs Rust $minimum or newer, and there is no $tool: install it from https://rustup.rs"
    oldest=$(printf '%s\n%s\n' "$minimum" "$version" | sort -V | head -n 1)
    [ "$oldest" = "$minimum" ] ||
        fail "building the native library needs Rust $minimum or newer, and this $tool is $version: update it with 'rustup update stable' or install it from https://rustup.rs"
done

# Two builds of one checkout (an editor's and a shell's) take turns, so that the older one cannot overwrite what the
# newer one has just installed. This script is the lock file. Without flock, cargo's own lock is nearly as good.
if command -v flock >/dev/null; then
    exec 9<"$native/build.sh"
    flock 9
fi

# Cargo's own messages say where the library is: CARGO_TARGET_DIR, a configured target-dir or a configured target
# triple each put it elsewhere.
messages=$(cargo build --release --locked --package ferrets_nif --message-format=json-render-diagnostics) ||
    fail "the native library did not build (see above)"
library=$(printf '%s\n' "$messages" |
    sed -n 's/.*"name":"ferrets_nif".*"filenames":\["\([^"]*\)".*/\1/p' | tail -n 1)
[ -f "$library" ] || fail "cargo built no library named ferrets_nif"

# Moved into place, never written in place: a running VM has the old file mapped into its memory. Erlang looks for
# ".so" on every Unix.
if ! cmp -s "$library" "$priv/ferrets_nif.so"; then
    mkdir -p "$priv"
    cp "$library" "$priv/.ferrets_nif.so.$$"
    mv -f "$priv/.ferrets_nif.so.$$" "$priv/ferrets_nif.so"
fi
