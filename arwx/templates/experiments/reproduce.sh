{#- Rebuilds the code of an experiment.    needs: experiment, files, config -#}
#!/bin/sh
# Rebuilds the code of experiment {{ experiment.id }} in a new folder, and checks that it is the same.
# Needs curl{{ "" if files is not none else ", git and a clone of the repository" }}; the key is taken from ARWANDB_API_KEY.
#
#   sh reproduce.sh [FOLDER{{ "" if files is not none else " [CLONE]" }}]
set -eu

folder=${1:-{{ experiment.id }}}
server=${ARWANDB_BASE_URL:-{{ base_url() | in_shell }}}

fail() { echo "$1" >&2; exit 1; }
# The key goes through a pipe: the arguments of a program are for everybody on the machine to see.
fetch() {
  : "${ARWANDB_API_KEY:?is not set}"
  printf 'Authorization: Bearer %s\n' "$ARWANDB_API_KEY" | curl -sSf -H @- "$server/v1/$1"
}
sha() { if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi | cut -d' ' -f1; }

[ ! -e "$folder" ] || fail "$folder is there already."
{% if files is not none %}
mkdir -p "$folder"
manifest=$(mktemp)
trap 'rm -f "$manifest"' EXIT
cat >"$manifest" <<'END OF FILES'
{% for file in files %}
{{ file.mode }} {{ file.sha }} {{ file.size }} {{ file.path }}
{% endfor %}
END OF FILES

while IFS= read -r line; do
  mode=${line%% *} rest=${line#* }
  want=${rest%% *} path=${rest#* * }
  case $path in */*) mkdir -p "$folder/${path%/*}" ;; esac
  fetch "blobs/$want" >"$folder/$path"
  [ "$(sha <"$folder/$path")" = "$want" ] || fail "$path is not what it was."
  [ "$mode" != 100755 ] || chmod +x "$folder/$path"
done <"$manifest"

tree=$(while IFS= read -r line; do
  mode=${line%% *} rest=${line#* }
  path=${rest#* * }
  printf '%s %s %s %s\n' "$mode" "$(sha <"$folder/$path")" "$(($(wc -c <"$folder/$path")))" "$path"
done <"$manifest" | sha)
[ "$tree" = {{ experiment.tree_sha }} ] || fail "The tree is $tree, not {{ experiment.tree_sha }}."
echo "tree $tree"
{% elif experiment.commit %}
git -C "${2:-.}" worktree add --detach -- "$(case $folder in /*) echo "$folder" ;; *) echo "$PWD/$folder" ;; esac)" {{ experiment.commit | in_shell }}
{% if experiment.diff_sha %}
change=$(mktemp)
trap 'rm -f "$change"' EXIT
fetch experiments/{{ experiment.id }}/diff >"$change"
[ "$(sha <"$change")" = {{ experiment.diff_sha }} ] || fail "The change to the commit was too large to be kept."
! grep -q '^# arwandb: the uncommitted changes could not be told' "$change" || fail "The change to the commit is not known."
! grep -q '^diff --git ' "$change" || git -C "$folder" apply --whitespace=nowarn "$change"
# Lines of the SDK about files that are not in the diff: data, big or secret ones.
sed -n 's/^# arwandb: /Not rebuilt: /p' "$change" >&2
{% endif %}
echo commit {{ experiment.commit | in_shell }}{{ " and diff " ~ experiment.diff_sha if experiment.diff_sha }}
{% else %}
fail "Neither files nor a commit were recorded with this experiment."
{% endif %}
{% if config is not none %}

cat >"$folder.config.json" <<'END OF CONFIG'
{{ config }}
END OF CONFIG
{% endif %}
