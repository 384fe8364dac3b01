%%% Discovery from a file: one node per line.
%%%
%%% Blanks around a name, empty lines and carriage returns do not matter. The file is read anew each time, so whoever
%%% writes it should write another one and rename it: a reader may otherwise see half of it. What is no node's name is
%%% taken for a node that never answers, and so is seen in `unavailable_nodes'. Names become atoms: the file is trusted.
%%%
%%% Option `disco_file': its path.
%%%
%%%     ferrets_discovery:start_link(#{name => disco, tables => [sessions], disco_file => "/etc/myapp/nodes"})
-module(ferrets_discovery_file).

-behaviour(ferrets_discovery).

-export([init/1, get_nodes/1, check_options/1]).

-export_type([error/0]).

-type state() :: #{disco_file := file:name_all()}.
-type error() ::
    {file:posix() | badarg | terminated | system_limit, #{disco_file := file:name_all()}}
    %% A line that is too long for a name, or not in UTF-8.
    | {bad_line, #{disco_file := file:name_all(), line := pos_integer()}}.

-spec check_options(map()) -> [ferrets_discovery_options:reason()].
check_options(Options) ->
    ferrets_discovery_options:check_backend(#{disco_file => fun is_path/1}, Options).

-spec init(#{disco_file := file:name_all(), _ => _}) -> state().
init(Options) ->
    maps:with([disco_file], Options).

-spec get_nodes(state()) -> {{ok, [node()]} | {error, error()}, state()}.
get_nodes(#{disco_file := Path} = State) ->
    case file:read_file(Path) of
        {ok, Text} -> {parse(Text, Path), State};
        {error, Reason} -> {{error, {Reason, #{disco_file => Path}}}, State}
    end.

-spec parse(binary(), file:name_all()) -> {ok, [node()]} | {error, error()}.
parse(Text, Path) ->
    Lines = lists:enumerate(binary:split(Text, <<"\n">>, [global])),
    Names = [{Number, Name} || {Number, Line} <- Lines, Name <- [trim(Line)], Name =/= <<>>],
    case [Number || {Number, Name} <- Names, not is_name(Name)] of
        [] -> {ok, lists:usort([binary_to_atom(Name) || {_, Name} <- Names])};
        [Number | _] -> {error, {bad_line, #{disco_file => Path, line => Number}}}
    end.

-spec trim(binary()) -> binary().
trim(Line) ->
    re:replace(Line, "^[ \\t\\r\\f\\v]+|[ \\t\\r\\f\\v]+$", "", [global, {return, binary}]).

%% Whether it fits into an atom.
-spec is_name(binary()) -> boolean().
is_name(Name) ->
    case unicode:characters_to_list(Name) of
        Characters when is_list(Characters) -> length(Characters) =< 255;
        _ -> false
    end.

-spec is_path(term()) -> boolean().
is_path(Path) when is_binary(Path) -> Path =/= <<>>;
is_path(Path) -> Path =/= [] andalso io_lib:char_list(Path).
