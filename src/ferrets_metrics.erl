%%% The numbers of a table, and of discovery, for any exporter of metrics.
%%%
%%% They are this node's own: nobody else is asked. Those that only grow (`kind/1') start at 0 with the table's server.
%%%
%%%     1> maps:with([size, syncs], ferrets_metrics:read(sessions)).
%%%     #{size => 4,syncs => 2}
-module(ferrets_metrics).

-export([read/1, read_all/1, kind/1]).

-export_type([metrics/0, name/0, source/0]).

-type name() :: atom() | {atom(), node()}.
-type metrics() :: #{name() => number()}.
%% What the numbers are of.
-type source() :: {table | discovery, atom()}.

-spec read(atom()) -> metrics().
read(Name) ->
    case what(Name) of
        table -> of_table(ferrets:info(Name));
        discovery -> of_discovery(ferrets_discovery:system_info(Name), ferrets_status:report(Name))
    end.

%% The numbers of a table; or those of discovery, and of all its tables that run.
-spec read_all(atom()) -> [{source(), metrics()}].
read_all(Name) ->
    case what(Name) of
        table ->
            [{{table, Name}, read(Name)}];
        discovery ->
            Infos = ferrets_discovery:info(Name),
            [{{discovery, Name}, read(Name)} | [{{table, Tab}, of_table(Info)} || #{table := Tab} = Info <- Infos]]
    end.

%% Which of the two a process is, it was born as.
-spec what(atom()) -> table | discovery.
what(Name) when is_atom(Name) ->
    Pid = whereis(Name),
    case is_pid(Pid) andalso proc_lib:translate_initial_call(Pid) of
        {ferrets_server, init, 1} -> table;
        {ferrets_discovery_server, init, 1} -> discovery;
        _ -> exit({noproc, {?MODULE, read, [Name]}})
    end.

%% Whatever the server and the library count, and sums of what there is per peer.
-spec of_table(#{atom() => term()}) -> metrics().
of_table(#{counters := Counters, peers := Peers, memory := Memory, leader := Leader, pause_monitors := Pauses} = Info) ->
    Numbers = maps:filter(fun(_, Value) -> is_number(Value) end, maps:without([keypos, incarnation], Info)),
    States = [State || #{state := State} <- Peers],
    Own = #{
        memory_bytes => Memory * erlang:system_info(wordsize),
        is_leader => flag(node(Leader) =:= node()),
        pauses => length(Pauses),
        peers => length(Peers),
        peers_opening => count(opening, States),
        peers_syncing => count(syncing, States),
        peers_synced => count(synced, States),
        unacknowledged => lists:sum([Unacked || #{unacked := Unacked} <- Peers]),
        lag_ms_max => lists:max([0 | [Lag || #{lag_ms := Lag} <- Peers]])
    },
    PerPeer = lists:append([
        [{{lag_ms, Node}, Lag}, {{unacknowledged, Node}, Unacked}]
     || #{node := Node, lag_ms := Lag, unacked := Unacked} <- Peers
    ]),
    lists:foldl(fun maps:merge/2, Numbers, [Counters, Own, maps:from_list(PerPeer)]).

-spec of_discovery(ferrets_discovery:system_info(), ferrets_status:report()) -> metrics().
of_discovery(#{nodes := Nodes, tables := Tables, results := Results} = Info, Report) ->
    #{unavailable_nodes := Unavailable, last_get_nodes_result := Last, verify_ready := NotReady, start_time := Start} = Info,
    Linked = [Of || is_map(Report), Of <- maps:values(Report)],
    #{
        backend_works => flag(is_tuple(Last) andalso element(1, Last) =:= ok),
        ready => flag(NotReady =:= []),
        uptime_ms => erlang:system_time(millisecond) - Start,
        tables => length(Tables),
        tables_running => length(Linked),
        nodes_discovered => length(Nodes),
        nodes_connected => length([Node || Node <- Nodes, lists:member(Node, [node() | nodes()])]),
        nodes_unavailable => length(Unavailable),
        %% Linked with by all tables that run here.
        nodes_joined => length([Node || Node <- Nodes, lists:all(fun(Of) -> lists:member(Node, Of) end, Linked)]),
        joins_failed => length([Result || #{result := {error, Reason}} = Result <- Results, Reason =/= already_joined])
    }.

-spec count(atom(), [atom()]) -> non_neg_integer().
count(State, States) ->
    length([S || S <- States, S =:= State]).

-spec flag(boolean()) -> 0 | 1.
flag(true) -> 1;
flag(false) -> 0.

%% Whether a number only grows, or goes up and down.
-spec kind(name()) -> counter | gauge.
kind(Name) when
    Name =:= messages_sent; Name =:= bytes_sent; Name =:= messages_received; Name =:= bytes_received; Name =:= batches;
    Name =:= links_up; Name =:= links_down; Name =:= stalls; Name =:= refusals; Name =:= servers_down; Name =:= syncs;
    Name =:= conflicts_asked; Name =:= wrong_leader; Name =:= writes; Name =:= diverged
->
    counter;
kind(_) ->
    gauge.
