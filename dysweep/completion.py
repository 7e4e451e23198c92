"""What shells complete after an option: files, folders, and the ids of sweeps and runs."""

COMPLETED_BY = {
    "ID": {"bash": "_dysweep_sweeps", "zsh": "_dysweep_sweeps"},
    "RUN": {"bash": "_dysweep_runs", "zsh": "_dysweep_runs"},
    "FILE": {"bash": "_shtab_compgen_files", "zsh": "_files"},
    "DIR": {"bash": "_shtab_compgen_dirs", "zsh": "_files -/"},
}
SHELLS = ("bash", "zsh")
_LISTED = """
_dysweep_root() {
  local root=dysweep_logs word last
  for word in "$@"; do
    [ "$last" = --default_root_dir ] && root=$word
    last=$word
  done
  echo "$root"
}
_dysweep_listed() {  # sweeps or runs, the words of the command line
  local kind=$1 root; shift; root=$(_dysweep_root "$@")
  if [ "$kind" = sweeps ]; then
    find "$root" -maxdepth 1 -name 'checkpoints-*' 2> /dev/null | sed 's/.*checkpoints-//'
  else
    find "$root" -maxdepth 3 -path '*/checkpoints-*/runs/*' ! -name '.*' 2> /dev/null | sed 's/.*runs.//'
  fi
}
"""
SOURCES_OF_IDS = {
    "bash": _LISTED
    + """
_dysweep_sweeps() { compgen -W "$(_dysweep_listed sweeps "${COMP_WORDS[@]}")" -- "$1"; }
_dysweep_runs() { compgen -W "$(_dysweep_listed runs "${COMP_WORDS[@]}")" -- "$1"; }
""",
    "zsh": _LISTED
    + """
_dysweep_sweeps() { compadd -- ${(f)"$(_dysweep_listed sweeps $words)"} }
_dysweep_runs() { compadd -- ${(f)"$(_dysweep_listed runs $words)"} }
""",
}
