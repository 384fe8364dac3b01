%%% What happens to tables and nodes, told to operators: a line in the log and, where there is `telemetry', an event.
%%%
%%% Each event is one line: a map with `what' and the evidence, for `logger'. None is told per operation. Where the user's
%%% system has the library `telemetry' the same is executed as a telemetry event, under the name that `name/1' gives, the numbers as
%%% measurements, the rest as metadata, with `system_time'. Ferrets does not depend on that library: where it is not loaded nobody can
%%% have attached a handler.
%%%
%%% Telemetry's handlers run in a process of their own, because a table's server must survive and outpace whatever is in
%%% them. So events have no order among each other; `system_time' has.
%%%
%%%     ferrets_event:tell(warning, ferrets_link_down, #{}, #{table => sessions, remote_node => Node, reason => stalled})
%%%
%%% What each line means, and what to do about it, stands in docs/operating.md.
-module(ferrets_event).

-export([tell/4, name/1]).

-export_type([what/0]).

-include_lib("kernel/include/logger.hrl").

-type what() ::
    %% Tables: links to peers.
    ferrets_link_up
    | ferrets_link_down
    | ferrets_link_refused
    | ferrets_peer_stalled
    | ferrets_synced
    | ferrets_diverged
    | ferrets_server_down
    %% Told by the second, as sums.
    | ferrets_conflicts
    | ferrets_wrong_leader
    %% Discovery: nodes.
    | ferrets_node_up
    | ferrets_node_down
    | ferrets_node_returned
    | ferrets_node_restarted
    | ferrets_node_unreachable
    | ferrets_nodes_changed
    | ferrets_get_nodes_failed
    | ferrets_get_nodes_works
    | ferrets_table_down
    | ferrets_table_not_found
    | ferrets_ready
    %% The blocker of connections.
    | ferrets_node_blocked
    | ferrets_node_unblocked.

-spec tell(logger:level(), what(), Numbers :: #{atom() => number()}, Evidence :: map()) -> ok.
tell(Level, What, Numbers, Evidence) ->
    ?LOG(Level, (maps:merge(Evidence, Numbers))#{what => What}),
    case erlang:function_exported(telemetry, execute, 3) of
        true -> execute(telemetry, name(What), Numbers, Evidence);
        false -> ok
    end.

%% The module is an argument, lest xref should miss one that need not be there.
-spec execute(module(), [atom(), ...], #{atom() => number()}, map()) -> ok.
execute(Telemetry, Name, Numbers, Evidence) ->
    Measurements = Numbers#{system_time => erlang:system_time()},
    _ = spawn(fun() -> Telemetry:execute(Name, Measurements, Evidence) end),
    ok.

%% The name of the telemetry event.
-spec name(what()) -> [atom(), ...].
name(ferrets_link_up) -> [ferrets, link, up];
name(ferrets_link_down) -> [ferrets, link, down];
name(ferrets_link_refused) -> [ferrets, link, refused];
name(ferrets_peer_stalled) -> [ferrets, peer, stalled];
name(ferrets_synced) -> [ferrets, sync, done];
name(ferrets_diverged) -> [ferrets, sync, diverged];
name(ferrets_server_down) -> [ferrets, server, down];
name(ferrets_conflicts) -> [ferrets, conflicts];
name(ferrets_wrong_leader) -> [ferrets, wrong_leader];
name(ferrets_node_up) -> [ferrets, node, up];
name(ferrets_node_down) -> [ferrets, node, down];
name(ferrets_node_returned) -> [ferrets, node, returned];
name(ferrets_node_restarted) -> [ferrets, node, restarted];
name(ferrets_node_unreachable) -> [ferrets, node, unreachable];
name(ferrets_nodes_changed) -> [ferrets, discovery, nodes_changed];
name(ferrets_get_nodes_failed) -> [ferrets, discovery, get_nodes_failed];
name(ferrets_get_nodes_works) -> [ferrets, discovery, get_nodes_works];
name(ferrets_table_down) -> [ferrets, discovery, table_down];
name(ferrets_table_not_found) -> [ferrets, discovery, table_not_found];
name(ferrets_ready) -> [ferrets, discovery, ready];
name(ferrets_node_blocked) -> [ferrets, blocker, blocked];
name(ferrets_node_unblocked) -> [ferrets, blocker, unblocked].
