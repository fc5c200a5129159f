"""The scripts for bash, zsh and fish that `mlpkit completion` prints.

In each, `_mlpkit_words` returns the completions after a command, a setting's `key=` or an option; CASES is
replaced by their table. The shell itself finds the user's own choices in configs/.
"""

SH_CASE = "        {}) answer=({}) ;;\n"
FISH_CASE = "        case {}\n            printf '%s\\n' {}\n"

BASH = """\
# Completes mlpkit in bash. In ~/.bashrc: eval "$(mlpkit completion bash)"

_mlpkit_words() {
    case $1 in
CASES
        *) return 1 ;;
    esac
}

_mlpkit() {
    local answer=() line=${COMP_LINE:0:COMP_POINT} key='' before='' file
    local word=${line##*[[:space:]]}
    local previous=${line%"$word"}
    previous=${previous%"${previous##*[![:space:]]}"}
    previous=${previous##*[[:space:]]}
    if ((COMP_CWORD == 1)); then
        _mlpkit_words ''
    elif [[ $word == *=* ]]; then
        key=${word%%=*} before=${word#*=}
        before=${before%"${before##*,}"}
        _mlpkit_words "$key=" || _mlpkit_words "$key"
        for file in configs/"$key"/*.yaml; do
            [[ -e $file ]] && file=${file##*/} && answer+=("${file%.yaml}")
        done
        word=${word##*[=,]}
        [[ $COMP_WORDBREAKS == *=* ]] || before=$key=$before  # else bash replaces only the text after =
    else
        _mlpkit_words "$previous" || _mlpkit_words "${COMP_WORDS[1]}"
    fi
    COMPREPLY=($(compgen -P "$before" -W "${answer[*]}" -- "$word"))
    [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace 2>/dev/null
    return 0
}

complete -o default -F _mlpkit mlpkit
"""

ZSH = """\
#compdef mlpkit
# Completes mlpkit in zsh. In ~/.zshrc, after compinit: source <(mlpkit completion zsh)

_mlpkit_words() {
    case $1 in
CASES
        *) return 1 ;;
    esac
}

_mlpkit() {
    local -aU answer
    local key
    if ((CURRENT == 2)); then
        _mlpkit_words ''
    elif [[ $PREFIX == *=* ]]; then
        key=${PREFIX%%=*}
        _mlpkit_words "$key=" || _mlpkit_words "$key"
        answer+=(configs/$key/*.yaml(N:t:r))
        compset -P 1 '*='
        compset -P '*,'
    else
        _mlpkit_words "$words[CURRENT-1]" || _mlpkit_words "$words[2]"
    fi
    compadd -S '' -- ${(M)answer:#*=}
    compadd -- ${answer:#*=}
    ((compstate[nmatches])) || _files
}

if [[ $funcstack[1] == _mlpkit ]]; then _mlpkit; else compdef _mlpkit mlpkit; fi
"""

FISH = """\
# Completes mlpkit in fish. In ~/.config/fish/config.fish: mlpkit completion fish | source

function _mlpkit_words
    switch "$argv[1]"
CASES
        case '*'
            return 1
    end
end

function _mlpkit
    set -l word (commandline -ct)
    set -l typed (commandline -opc)
    if test (count $typed) = 1
        _mlpkit_words ''
    else if string match -q '*=*' -- $word
        set -l key (string replace -r '=.*' '' -- $word)
        set -l before (string replace -r '[^=,]*$' '' -- $word)
        set -l files configs/$key/*.yaml
        set -l own (string replace -r '.*/(.*)\\.yaml$' '$1' -- $files)
        set -l answer (_mlpkit_words $key=; or _mlpkit_words $key) $own
        printf '%s\\n' $before$answer
    else
        _mlpkit_words $typed[-1]; or _mlpkit_words $typed[2]
    end
end

complete -c mlpkit -a '(_mlpkit)'
"""
