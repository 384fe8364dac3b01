%%% How a cluster is, for whoever runs it: what is joined, what is missing, and where nodes disagree.
%%%
%%% `status/1' compares what this node sees with what each connected node sees; `metrics/1' and `prometheus/1' are numbers
%%% of this node alone, and ask nobody. Nothing here changes anything.
%%%
%%% No snapshot: the nodes answer one after the other, and a cluster that forms or splits is seen in between. A node that does
%%% not answer within 5 seconds counts as unavailable. During a netsplit each side describes itself.
%%%
%%%     1> ferrets_status:status(disco).
%%%     #{available_nodes => ['a@host','b@host'],unavailable_nodes => ['c@host'],discovery_works => true,...}
%%%
%%% What to do about each field stands in docs/operating.md.
-module(ferrets_status).

-export([status/1, metrics/1, prometheus/1]).
%% Called on the other nodes, and by `ferrets_metrics'.
-export([report/1]).

-export_type([status/0, report/0]).

-define(TIMEOUT_MS, 5_000).

-type status() :: #{
    %% Connected, with discovery of this name; this node included.
    available_nodes := [node()],
    %% Discovered, but not connected, or connected and silent.
    unavailable_nodes := [node()],
    %% With all our tables, each linked with the same nodes as here; this node included.
    joined_nodes := [node()],
    %% What the backend said last that was no error.
    discovered_nodes := [node()],
    %% Whether the backend's last answer was no error.
    discovery_works := boolean(),
    %% Discovered and connected, but without discovery of this name.
    remote_nodes_without_disco := [node()],
    %% Tables that others have in their discovery and we do not.
    remote_unknown_tables := [ferrets:table()],
    remote_nodes_with_unknown_tables := [node()],
    %% Tables of ours that available nodes lack, or that do not run there.
    remote_missing_tables := [ferrets:table()],
    remote_nodes_with_missing_tables := [node()],
    %% Where a table of ours is linked with other nodes than here.
    conflict_tables := [ferrets:table()],
    conflict_nodes := [node()]
}.

%% What a node says of itself: for each table of its discovery that runs, the nodes that it is linked with, its own included.
-type report() :: no_disco | #{ferrets:table() => ordsets:ordset(node())}.

%% Asks each connected node once, all at the same time. Exits as `gen_server:call' does if discovery does not run here.
-spec status(Disco :: atom()) -> status().
status(Disco) when is_atom(Disco) ->
    #{tables := Tables, nodes := Nodes, last_get_nodes_result := LastResult} = ferrets_discovery:system_info(Disco),
    Connected = lists:sort(nodes()),
    Reports = gather(Connected, Disco),
    Remote = maps:filter(fun(_, Report) -> is_map(Report) end, Reports),
    %% A table of ours that does not run is linked with nobody.
    Here = maps:merge(maps:from_list([{Tab, []} || Tab <- Tables]), report(Disco)),
    {UnknownTables, UnknownNodes} = collect(fun(Theirs) -> maps:keys(Theirs) -- Tables end, Remote),
    {MissingTables, MissingNodes} = collect(fun(Theirs) -> Tables -- maps:keys(Theirs) end, Remote),
    {ConflictTables, ConflictNodes} = collect(fun(Theirs) -> conflicts(Here, Theirs) end, Remote),
    Joined = [Node || {Node, Theirs} <- maps:to_list(Remote), maps:with(Tables, Theirs) =:= Here],
    #{
        available_nodes => lists:sort([node() | maps:keys(Remote)]),
        unavailable_nodes => lists:usort((Nodes -- [node() | Connected]) ++ (Connected -- maps:keys(Reports))),
        joined_nodes => lists:sort([node() | Joined]),
        discovered_nodes => Nodes,
        discovery_works => is_tuple(LastResult) andalso element(1, LastResult) =:= ok,
        remote_nodes_without_disco => [Node || {Node, no_disco} <- lists:sort(maps:to_list(Reports)), lists:member(Node, Nodes)],
        remote_unknown_tables => UnknownTables,
        remote_nodes_with_unknown_tables => UnknownNodes,
        remote_missing_tables => MissingTables,
        remote_nodes_with_missing_tables => MissingNodes,
        conflict_tables => ConflictTables,
        conflict_nodes => ConflictNodes
    }.

%% Of those that answer: a node without Ferrets has no discovery either.
-spec gather([node()], atom()) -> #{node() => report()}.
gather(Nodes, Disco) ->
    Answers = erpc:multicall(Nodes, ?MODULE, report, [Disco], ?TIMEOUT_MS),
    maps:from_list([{Node, Report} || {Node, Answer} <- lists:zip(Nodes, Answers), Report <- read(Answer)]).

-spec read({ok, report()} | {error | exit | throw, term()}) -> [report()].
read({ok, Report}) -> [Report];
read({error, {erpc, _}}) -> [];
read({error, {exception, undef, _}}) -> [no_disco];
%% It went away while it was asked.
read({_Class, _Reason}) -> [no_disco].

-spec report(Disco :: atom()) -> report().
report(Disco) ->
    case whereis(Disco) of
        undefined ->
            no_disco;
        Pid ->
            {ok, Tables} = ferrets_discovery:get_tables(Pid),
            maps:from_list([{Tab, lists:sort(Nodes)} || Tab <- Tables, Nodes <- linked(Tab)])
    end.

%% Nothing if the table does not run, or ends at this moment.
-spec linked(ferrets:table()) -> [[node()]].
linked(Tab) ->
    try
        [lists:usort([node() | ferrets:other_nodes(Tab)])]
    catch
        error:{pid_not_found, Tab} -> [];
        exit:{_Reason, {gen_server, call, _}} -> []
    end.

%% All tables that the function finds, and the nodes where it finds any.
-spec collect(fun((report()) -> [ferrets:table()]), #{node() => report()}) -> {[ferrets:table()], [node()]}.
collect(Find, Remote) ->
    Found = [{Tables, Node} || {Node, Theirs} <- maps:to_list(Remote), [_ | _] = Tables <- [Find(Theirs)]],
    {lists:usort(lists:append([Tables || {Tables, _} <- Found])), lists:sort([Node || {_, Node} <- Found])}.

-spec conflicts(#{ferrets:table() => [node()]}, #{ferrets:table() => [node()]}) -> [ferrets:table()].
conflicts(Here, Theirs) ->
    [Tab || {Tab, Nodes} <- maps:to_list(Theirs), is_map_key(Tab, Here), maps:get(Tab, Here) =/= Nodes].

%% The numbers of a table or of discovery, by name. A name is an atom, or `{atom(), Node}' for what there is per peer. Costs one
%% call to the server of each. Exits with `{noproc, _}' if there is no such table or discovery on this node.
-spec metrics(DiscoOrTab :: atom()) -> ferrets_metrics:metrics().
metrics(DiscoOrTab) ->
    ferrets_metrics:read(DiscoOrTab).

%% The same in Prometheus' text format, version 0.0.4; of discovery together with all its tables that run. For whatever serves HTTP:
%% the content type is `text/plain; version=0.0.4'.
-spec prometheus(DiscoOrTab :: atom()) -> iolist().
prometheus(DiscoOrTab) ->
    ferrets_prometheus:format(ferrets_metrics:read_all(DiscoOrTab)).
