# Completion in zsh: the functions of completion.bash, behind zsh's own bridge to them.

autoload -Uz compinit bashcompinit
(( $+functions[compdef] )) || compinit -i -D
bashcompinit
source "${${(%):-%x}:A:h}/completion.bash"
