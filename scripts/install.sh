#!/usr/bin/env bash
# Installs the command with its manual pages and completion scripts.
#
#   scripts/install.sh [--prefix DIR] [--binary FILE]      (default prefix: /usr/local)
#
# --binary takes this build instead of making a release build. DESTDIR is put
# before the prefix, as packagers expect. To remove it again: the paths are printed.
set -euo pipefail
cd "$(dirname "$0")/.."

prefix=/usr/local
binary=
while (($#)); do
    case $1 in
    --prefix | --binary)
        if (($# < 2)); then
            echo "install: $1 needs a value" >&2
            exit 2
        fi
        if [[ $1 == --prefix ]]; then prefix=$2; else binary=$2; fi
        shift 2
        ;;
    *)
        echo "install: unknown argument '$1'; usage: scripts/install.sh [--prefix DIR] [--binary FILE]" >&2
        exit 2
        ;;
    esac
done
if [[ $prefix != /* ]]; then
    echo "install: the prefix must be an absolute path, not '$prefix'" >&2
    exit 2
fi
if [[ -z $binary ]]; then
    scripts/setup.sh build
    cargo build --release --quiet -p kavach-cli
    binary=${CARGO_TARGET_DIR:-target}/release/kavach
fi
to=${DESTDIR:-}$prefix

put() {
    install -D -m "$1" "$2" "$to/$3"
    echo "$to/$3"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$binary" man --dir "$work/man" >/dev/null
for shell in bash zsh fish; do
    "$binary" completions "$shell" >"$work/$shell"
done

put 755 "$binary" bin/kavach
for page in "$work"/man/*.1; do
    put 644 "$page" "share/man/man1/${page##*/}"
done
put 644 "$work/bash" share/bash-completion/completions/kavach
put 644 "$work/zsh" share/zsh/site-functions/_kavach
put 644 "$work/fish" share/fish/vendor_completions.d/kavach.fish
