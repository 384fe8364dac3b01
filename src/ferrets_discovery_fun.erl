%%% Discovery by a function of the user's.
%%%
%%% Option `get_nodes_fn': a function that is called with the state, a map of all options at first, and does what
%%% `ferrets_discovery:get_nodes/1' is to do. It runs in a process of its own each time, and may raise or hang.
%%%
%%%     ferrets_discovery:start_link(#{
%%%         name => disco, tables => [sessions], backend_module => ferrets_discovery_fun,
%%%         get_nodes_fn => fun(State) -> {{ok, my_registry:nodes()}, State} end
%%%     })
-module(ferrets_discovery_fun).

-behaviour(ferrets_discovery).

-export([init/1, get_nodes/1, check_options/1]).

-type get_nodes_fn() :: fun((State) -> {ferrets_discovery:get_nodes_result(), State}).

-export_type([get_nodes_fn/0]).

%% Further options are the function's own.
-spec check_options(map()) -> [ferrets_discovery_options:reason()].
check_options(Options) ->
    ferrets_discovery_options:check_backend(
        #{get_nodes_fn => fun(Fun) -> is_function(Fun, 1) end},
        maps:with([get_nodes_fn], Options)
    ).

-spec init(#{get_nodes_fn := get_nodes_fn(), _ => _}) -> map().
init(Options) ->
    Options.

-spec get_nodes(map()) -> {ferrets_discovery:get_nodes_result(), map()}.
get_nodes(#{get_nodes_fn := Fun} = State) ->
    Fun(State).
