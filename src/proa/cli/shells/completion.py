"""``proa completion``: scripts that complete words in bash, zsh and fish.

The scripts are short and never change: for every key press they ask ``proa completion --answer``,
which asks the tables of the commands (:mod:`proa.cli.candidates`).
"""

from __future__ import annotations

from proa.cli.candidates import candidates
from proa.cli.invocation import Invocation
from proa.cli.kinds import BOOL
from proa.cli.parser import EXIT_FAILURE, Command, Flag, UsageError

ANSWER = Flag("answer", BOOL, "Print what the last of the words can become", hidden=True)

COMMAND = Command(
    words="completion",
    usage="bash|zsh|fish",
    summary="Print a completion script for a shell",
    flags=(ANSWER,),
    most=None,
    interspersed=False,
    details=(
        'bash: eval "$(proa completion bash)" in ~/.bashrc. zsh: proa completion zsh > '
        '"${fpath[1]}/_proa". fish: proa completion fish > '
        "~/.config/fish/completions/proa.fish."
    ),
)

BASH = r"""# bash completion for proa
_proa() {
    local line word prefix="" cut="${COMP_LINE:0:COMP_POINT}"
    local -a words
    read -ra words <<< "$cut"
    [[ $cut == *[[:space:]] ]] && words+=("")
    word="${words[-1]}"
    # Readline replaces only what follows the last of its word breaks.
    if [[ $word == *[:=]* && $COMP_WORDBREAKS == *:* ]]; then
        prefix="${word%"${word##*[:=]}"}"
    fi
    COMPREPLY=()
    while IFS= read -r line; do
        if [[ $line == ":files" ]]; then
            compopt -o default -o filenames 2>/dev/null
            while IFS= read -r line; do
                COMPREPLY+=("$line")
            done < <(compgen -f -- "${word#"$prefix"}")
        else
            line="${line%%$'\t'*}"
            COMPREPLY+=("${line#"$prefix"}")
        fi
    done < <("${words[0]}" completion --answer -- "${words[@]:1}" 2>/dev/null)
}
complete -F _proa proa
"""

ZSH = r"""#compdef proa
# zsh completion for proa
_proa() {
    local line
    local -a answer found
    answer=("${(@f)$(${words[1]} completion --answer -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    for line in $answer; do
        if [[ $line == ":files" ]]; then
            _files
        elif [[ -n $line ]]; then
            # A colon separates words from meanings for _describe.
            found+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
        fi
    done
    (( $#found )) && _describe 'proa' found
}
if [[ $funcstack[1] == _proa ]]; then
    _proa "$@"
else
    compdef _proa proa
fi
"""

FISH = r"""# fish completion for proa
function __proa_candidates
    set -l words (commandline -opc) (commandline -ct)
    for line in (proa completion --answer -- $words[2..] 2>/dev/null)
        if test $line = ":files"
            __fish_complete_path (commandline -ct)
        else
            echo $line
        end
    end
end
complete -c proa -f -a '(__proa_candidates)'
"""

_SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def execute(call: Invocation) -> int:
    """Print the script, or with ``--answer`` one candidate a line, its meaning behind a tab."""
    if call[ANSWER]:
        from proa.cli.main import GLOBAL_FLAGS

        for word, meaning in candidates(call.arguments, GLOBAL_FLAGS, lambda: call.engine):
            call.io.out(f"{word}\t{meaning}" if meaning else word)
        return 0
    shell = call.arguments[0] if call.arguments else ""
    if len(call.arguments) != 1 or shell not in _SCRIPTS:
        raise UsageError(
            f"there is no completion for '{shell}': use bash, zsh or fish",
            exit_code=EXIT_FAILURE,
            show_usage=True,
        )
    call.io.out(_SCRIPTS[shell].rstrip("\n"))
    return 0
