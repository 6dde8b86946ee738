# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Scripts that make bash, zsh and fish ask `hull complete` when a word is to be completed. Pure.

They hold nothing that a newer command could know better, so they need not be installed again with it. A word that ends
in `:`, `=` or `,` goes on, so no blank is put behind it.
"""

from __future__ import annotations

from .._base.errors import Invalid

_NOTICE = """\
# SPDX-License-Identifier: GPL-3.0-or-later
# Completion of hull's command line; made by `hull completion`."""

# bash cuts words at : and = as well: what has no blank before it goes back to the word before, and from what completes
# it bash wants only what follows the last cut.
_BASH = """\
@notice@
_hull() {
    local rest=${COMP_LINE:0:COMP_POINT} stripped word index breaks
    local -a words=() reply=()
    for ((index = 0; index <= COMP_CWORD; index++)); do
        stripped=${rest#"${rest%%[![:space:]]*}"}
        word=$stripped
        ((index == COMP_CWORD)) || word=${COMP_WORDS[index]}
        if ((index > 0)) && [[ $stripped == "$rest" ]]; then
            words[-1]+=$word
        else
            words+=("$word")
        fi
        rest=${stripped#"$word"}
    done
    words=("${words[@]//[\\"\\']/}")
    mapfile -t reply < <("${words[0]/#\\~/$HOME}" complete -- "${words[@]:1}" 2> /dev/null)
    COMPREPLY=()
    if [[ ${reply[0]} == :files ]]; then
        compopt -o default
        return
    fi
    word=${words[-1]}
    breaks=${COMP_WORDBREAKS//[!:=]/}
    [[ -z $breaks ]] || word=${word##*[$breaks]}
    for stripped in "${reply[@]}"; do
        stripped=${stripped%%$'\\t'*}
        COMPREPLY+=("${stripped#"${words[-1]%"$word"}"}")
    done
    if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[:=,] ]]; then
        compopt -o nospace
    fi
}
complete -F _hull @name@
"""

_ZSH = """\
#compdef @name@
@notice@
local -a reply closed open
local line word about
reply=("${(@f)$("${(Q)words[1]}" complete -- "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2> /dev/null)}")
if [[ $reply[1] == :files ]]; then
    [[ $PREFIX == --*=* ]] && compset -P '*='
    _files
    return
fi
for line in $reply; do
    word=${line%%$'\\t'*}
    about=${line#*$'\\t'}
    line=${word//:/\\\\:}${about:+:$about}
    if [[ $word == *[:=,] ]]; then
        open+=("$line")
    else
        closed+=("$line")
    fi
done
_describe hull closed -- open -S ''
"""

_FISH = """\
@notice@
function __hull_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l reply ($words[1] complete -- $words[2..] "$current" 2> /dev/null)
    if test "$reply[1]" = :files
        __fish_complete_path "$current"
    else
        printf '%s\\n' $reply
    end
end
complete -c @name@ -f -a '(__hull_complete)'
"""
_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
SHELLS = tuple(_SCRIPTS)


def completion_script(shell: str, name: str = "hull") -> str:
    """The script for a shell (`SHELLS`); `name` is what the command is called. Raises Invalid for another shell."""
    if shell not in _SCRIPTS:
        raise Invalid(f"{shell!r} is not a shell whose completion is known", hint=f"use {', '.join(SHELLS)}")
    return _SCRIPTS[shell].replace("@notice@", _NOTICE).replace("@name@", name)
