%%% Discovery of what is connected already, for those who have something else connect nodes: libcluster, `sync_nodes_*' of
%%% the kernel application, an operator's `net_adm:ping/1'.
%%%
%%% The nodes are `nodes()', this node included: visible ones, with Ferrets or without. It has no options. A node that
%%% is connected or lost is heard of at once, so nothing depends on the intervals.
%%%
%%%     ferrets_discovery:start_link(#{name => disco, tables => [sessions], backend_module => ferrets_discovery_nodes})
-module(ferrets_discovery_nodes).

-behaviour(ferrets_discovery).

-export([init/1, get_nodes/1, check_options/1]).

-spec check_options(map()) -> [ferrets_discovery_options:reason()].
check_options(Options) ->
    ferrets_discovery_options:check_backend(#{}, Options).

-spec init(map()) -> #{}.
init(_Options) ->
    #{}.

-spec get_nodes(#{}) -> {{ok, [node()]}, #{}}.
get_nodes(State) ->
    {{ok, lists:sort([node() | nodes()])}, State}.
