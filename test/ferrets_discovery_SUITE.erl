%%% Discovery on real nodes: how clusters form, change, lose nodes and get them back, without anybody's doing.
-module(ferrets_discovery_SUITE).

-include_lib("stdlib/include/assert.hrl").

-compile(export_all).

-define(TAB, ?FUNCTION_NAME).

-import(ferrets_test_cluster, [call/2, call/4, dumps/2, node/1, server/2, start_table/2, start_table/3, wait_until/1]).
-import(ferrets_test_disco, [with_nodes/2, with_nodes/3, start/3, start_disco/2, path/1, write_file/2, write_file/3]).
-import(ferrets_test_disco, [is_meshed/2, await_mesh/2, await_ready/1, system_info/1]).

-compile({no_auto_import, [node/1]}).

all() ->
    [
        five_nodes_find_each_other_from_a_file,
        nodes_that_are_written_into_the_file_are_joined,
        a_killed_node_returns_and_is_filled,
        a_node_that_comes_back_after_long_is_still_looked_for,
        a_healed_split_is_told_from_a_restart,
        a_frozen_node_holds_up_no_other,
        a_join_that_hangs_holds_up_no_other,
        connected_nodes_are_joined,
        two_clusters_that_learn_of_each_other_become_one,
        tables_may_be_added_and_started_later,
        a_table_that_is_started_again_is_joined_again,
        readiness_waits_for_the_data,
        a_node_without_the_table_holds_up_nobody,
        a_rolling_restart_under_load_loses_nothing
    ].

%% ---------------------------------------------------------------- from a file

five_nodes_find_each_other_from_a_file(Config) ->
    Path = path(Config),
    with_nodes(5, fun(Peers) ->
        %% As an editor on Windows would write it.
        write_file(Path, Peers, " \r\n\r\n"),
        start(Peers, [?TAB, other], #{disco_file => Path}),
        await_ready(Peers),
        [await_mesh(Peers, Tab) || Tab <- [?TAB, other]],
        [ok = call(Peer, ferrets, insert, [?TAB, {node(Peer)}]) || Peer <- Peers],
        Nodes = lists:sort([node(Peer) || Peer <- Peers]),
        ?assertEqual(lists:duplicate(5, [{Node} || Node <- Nodes]), dumps(Peers, ?TAB)),
        [
            begin
                Others = Nodes -- [node(Peer)],
                Info = system_info(Peer),
                ?assertMatch(
                    #{
                        phase := initial,
                        tables := [?TAB, other],
                        nodes := Nodes,
                        unavailable_nodes := [],
                        backend_module := ferrets_discovery_file,
                        backend_state := #{disco_file := Path},
                        last_get_nodes_result := {ok, Nodes},
                        last_get_nodes_retry_type := initial,
                        retry_type := initial,
                        verify_ready := []
                    },
                    Info
                ),
                ?assertEqual(Others, lists:sort(maps:keys(maps:get(nodeup_timestamps, Info)))),
                wait_until(fun() -> lists:sort(maps:keys(maps:get(node_start_timestamps, system_info(Peer)))) =:= Others end),
                ?assertEqual(8, length(maps:get(results, Info))),
                ?assertMatch([#{table := ?TAB}, #{table := other}], call(Peer, ferrets_discovery, info, [disco])),
                ?assertEqual(ok, call(Peer, ferrets_discovery, wait_for_get_nodes, [disco, 5000]))
            end
         || Peer <- Peers
        ]
    end).

nodes_that_are_written_into_the_file_are_joined(Config) ->
    Path = path(Config),
    with_nodes(3, fun([A, B, C] = Peers) ->
        %% No file yet: that is an error, and tried again.
        start([A, B], [?TAB], #{disco_file => Path}),
        start_table([C], ?TAB),
        wait_until(fun() -> is_error(maps:get(last_get_nodes_result, system_info(A))) end),
        ?assertMatch(
            #{retry_type := after_error, verify_ready := [{bad_last_get_nodes_result, {error, {enoent, _}}}]},
            system_info(A)
        ),
        write_file(Path, [A, B]),
        await_ready([A, B]),
        await_mesh([A, B], ?TAB),
        ?assertEqual([], call(C, ferrets, other_nodes, [?TAB])),
        write_file(Path, Peers),
        await_mesh(Peers, ?TAB),
        %% Who is taken out of the file stays where it is.
        write_file(Path, [A]),
        wait_until(fun() -> maps:get(nodes, system_info(A)) =:= [node(A)] end),
        ?assert(is_meshed(Peers, ?TAB)),
        ?assertEqual([], maps:get(results, system_info(A))),
        %% It did not work, then it did: a line each, however often it was tried.
        ?assertMatch([_], call(A, ferrets_test_log, reports, [ferrets_get_nodes_failed])),
        ?assertMatch([_], call(A, ferrets_test_log, reports, [ferrets_get_nodes_works]))
    end).

is_error({error, _}) -> true;
is_error(_) -> false.

%% ---------------------------------------------------------------- nodes go and come back

a_killed_node_returns_and_is_filled(Config) ->
    Path = path(Config),
    with_nodes(3, fun([A, B, C] = Peers) ->
        write_file(Path, Peers),
        start(Peers, [?TAB], #{disco_file => Path}),
        await_ready(Peers),
        [ok = call(Peer, ferrets, insert, [?TAB, {node(Peer)}]) || Peer <- Peers],
        ferrets_test_cluster:kill(C),
        wait_until(fun() -> maps:get(unavailable_nodes, system_info(A)) =:= [node(C)] end),
        ok = call(A, ferrets, insert, [?TAB, {meanwhile}]),
        wait_until(fun() -> call(A, ferrets_test_log, count, [ferrets_node_unreachable]) > 0 end),
        NewC = ferrets_test_cluster:restart(C),
        try
            ok = call(NewC, ferrets_test_log, start, []),
            start([NewC], [?TAB], #{disco_file => Path}),
            await_ready([NewC]),
            %% Ready is: it has what the others have.
            ?assertEqual(4, call(NewC, ferrets, size, [?TAB])),
            await_mesh([A, B, NewC], ?TAB),
            wait_until(fun() -> call(A, ferrets_test_log, count, [ferrets_node_restarted]) =:= 1 end),
            ?assertEqual(0, call(A, ferrets_test_log, count, [ferrets_node_returned])),
            ?assertMatch(#{unavailable_nodes := []}, system_info(A)),
            Lost = node(C),
            ?assertMatch([#{remote_node := Lost, up_ms := _}], call(A, ferrets_test_log, reports, [ferrets_node_down]))
        after
            ferrets_test_cluster:stop([NewC])
        end
    end).

%% Both sides are long past their first minutes: all that looks for a lost node is the interval after a loss.
a_node_that_comes_back_after_long_is_still_looked_for(Config) ->
    Path = path(Config),
    Intervals = #{initial => 60_000, after_error => 50, after_nodedown => 100, regular => 60_000},
    Options = #{disco_file => Path, initial_phase => 0, retry_intervals => Intervals},
    with_nodes(2, fun([A, B] = Peers) ->
        write_file(Path, Peers),
        start_table(Peers, ?TAB, #{on_nodedown => delete_owned, tombstone_ttl => 100}),
        [start_disco(Peer, Options#{tables => [?TAB]}) || Peer <- Peers],
        await_ready(Peers),
        wait_until(fun() -> lists:all(fun(Peer) -> maps:get(retry_type, system_info(Peer)) =:= regular end, Peers) end),
        [ok = call(Peer, ferrets, insert_many, [?TAB, [{{node(Peer), N}} || N <- lists:seq(1, 3)]]) || Peer <- Peers],
        ferrets_test_cluster:cut([A], [B]),
        wait_until(fun() -> [call(Peer, ferrets, size, [?TAB]) || Peer <- Peers] =:= [3, 3] end),
        wait_until(fun() -> maps:get(last_get_nodes_retry_type, system_info(A)) =:= after_nodedown end),
        ok = call(A, ferrets, delete, [?TAB, {node(A), 1}]),
        wait_until(fun() -> maps:get(tombstones, call(A, ferrets, info, [?TAB])) =:= 0 end),
        %% Nobody connects but discovery.
        [call(X, erlang, set_cookie, [node(Y), call(X, erlang, get_cookie, [])]) || {X, Y} <- [{A, B}, {B, A}]],
        await_mesh(Peers, ?TAB),
        %% Peers sort by when they were started, and nodes by their names: `n-995' comes behind `n-1011'.
        Left = lists:sort([{{node(Peer), N}} || Peer <- Peers, N <- [1, 2, 3], {Peer, N} =/= {A, 1}]),
        ?assertEqual([Left, Left], [lists:sort(Dump) || Dump <- dumps(Peers, ?TAB)])
    end).

a_healed_split_is_told_from_a_restart(Config) ->
    Path = path(Config),
    with_nodes(3, ["-kernel", "prevent_overlapping_partitions", "false"], fun([A, B, C] = Peers) ->
        write_file(Path, Peers),
        start(Peers, [?TAB], #{disco_file => Path}),
        await_ready(Peers),
        ferrets_test_cluster:cut([A], [B, C]),
        [ok = call(Peer, ferrets, insert, [?TAB, {node(Peer)}]) || Peer <- Peers],
        wait_until(fun() -> call(A, ferrets, other_nodes, [?TAB]) =:= [] end),
        wait_until(fun() -> maps:get(unavailable_nodes, system_info(A)) =:= lists:sort([node(B), node(C)]) end),
        ferrets_test_cluster:heal([A], [B, C]),
        await_mesh(Peers, ?TAB),
        ?assertEqual([3, 3, 3], [call(Peer, ferrets, size, [?TAB]) || Peer <- Peers]),
        wait_until(fun() -> call(A, ferrets_test_log, count, [ferrets_node_returned]) >= 2 end),
        ?assertEqual(0, call(A, ferrets_test_log, count, [ferrets_node_restarted])),
        ?assertEqual([], call(A, fun() -> [R || #{down_ms := Ms} = R <- ferrets_test_log:reports(ferrets_node_up), Ms < 0] end))
    end).

%% Its host answers, it does not: who connects to it waits for 7 seconds.
a_frozen_node_holds_up_no_other(Config) ->
    Path = path(Config),
    with_nodes(3, fun([A, B, Frozen] = Peers) ->
        ferrets_test_cluster:freeze(Frozen),
        write_file(Path, Peers),
        start([A, B], [?TAB], #{disco_file => Path}),
        await_mesh([A, B], ?TAB),
        %% Only the frozen one is still waited for, and nobody waits for that.
        ?assertMatch(#{verify_ready := [{still_waiting_for_pangs, [_]}]}, system_info(A)),
        ok = call(A, ferrets_discovery, add_table, [disco, later]),
        ?assertEqual({ok, [?TAB, later]}, call(A, ferrets_discovery, get_tables, [disco])),
        ok = call(A, ferrets_discovery, delete_table, [disco, later]),
        ferrets_test_cluster:thaw(Frozen),
        start([Frozen], [?TAB], #{disco_file => Path}),
        await_mesh(Peers, ?TAB)
    end).

%% Its node answers, its table's server does not: who joins it waits for half a minute.
a_join_that_hangs_holds_up_no_other(Config) ->
    Path = path(Config),
    with_nodes(3, fun(Peers) ->
        %% The first in line.
        [Hung, A, B] = lists:sort(fun(X, Y) -> node(X) =< node(Y) end, Peers),
        start_table(Peers, ?TAB),
        ok = call(Hung, sys, suspend, [?TAB]),
        write_file(Path, Peers),
        StartMs = erlang:monotonic_time(millisecond),
        [start_disco(Peer, #{disco_file => Path, tables => [?TAB]}) || Peer <- [A, B]],
        await_mesh([A, B], ?TAB),
        wait_until(fun() ->
            case system_info(A) of
                #{verify_ready := [{waiting_for_join_result, [_]}], join_status := running} -> true;
                #{} -> false
            end
        end),
        %% Long after patience with it has ended.
        receive after 2_500 -> ok end,
        start_table([A, B], later),
        [ok = call(Peer, ferrets_discovery, add_table, [disco, later]) || Peer <- [A, B]],
        await_mesh([A, B], later),
        ?assert(erlang:monotonic_time(millisecond) - StartMs < 25_000),
        ok = call(Hung, sys, resume, [?TAB]),
        await_mesh(Peers, ?TAB)
    end).

%% ---------------------------------------------------------------- other ways to form a cluster

connected_nodes_are_joined(_Config) ->
    with_nodes(3, fun([A, B, C] = Peers) ->
        start(Peers, [?TAB], #{
            backend_module => ferrets_discovery_nodes,
            %% What is connected is heard of, not looked for.
            retry_intervals => #{initial => 60_000}
        }),
        await_ready(Peers),
        ?assertEqual([], call(A, ferrets, other_nodes, [?TAB])),
        %% As libcluster would.
        [pong = call(A, net_adm, ping, [node(Peer)]) || Peer <- [B, C]],
        await_mesh(Peers, ?TAB)
    end).

two_clusters_that_learn_of_each_other_become_one(Config) ->
    {Here, There} = {path(Config), path(Config)},
    with_nodes(4, fun([A, B, C, D] = Peers) ->
        write_file(Here, [A, B]),
        write_file(There, [C, D]),
        start([A, B], [?TAB], #{disco_file => Here}),
        start([C, D], [?TAB], #{disco_file => There}),
        await_mesh([A, B], ?TAB),
        await_mesh([C, D], ?TAB),
        [ok = call(Peer, ferrets, insert_many, [?TAB, [{{node(Peer), N}} || N <- lists:seq(1, 500)]]) || Peer <- Peers],
        %% One side is told of one node of the other.
        write_file(Here, [A, B, C]),
        await_mesh(Peers, ?TAB),
        ?assertEqual([2000, 2000, 2000, 2000], [call(Peer, ferrets, size, [?TAB]) || Peer <- Peers])
    end).

%% ---------------------------------------------------------------- tables

tables_may_be_added_and_started_later(Config) ->
    Path = path(Config),
    with_nodes(2, fun([A, B] = Peers) ->
        write_file(Path, Peers),
        [start_disco(Peer, #{disco_file => Path}) || Peer <- Peers],
        await_ready(Peers),
        [ok = call(Peer, ferrets_discovery, add_table, [disco, ?TAB]) || Peer <- Peers],
        ok = call(A, ferrets_discovery, add_table, [disco, ?TAB]),
        ?assertEqual({ok, [?TAB]}, call(A, ferrets_discovery, get_tables, [disco])),
        ?assertEqual([], call(A, ferrets_discovery, info, [disco])),
        wait_until(fun() ->
            maps:get(results, system_info(A)) =:=
                [#{what => pid_not_found, node => node(B), table => ?TAB, reason => not_here}]
        end),
        start_table(Peers, ?TAB),
        await_ready(Peers),
        await_mesh(Peers, ?TAB),
        [ok = call(Peer, ferrets_discovery, delete_table, [disco, ?TAB]) || Peer <- Peers],
        ?assertEqual({ok, []}, call(A, ferrets_discovery, get_tables, [disco])),
        ?assert(is_meshed(Peers, ?TAB))
    end).

a_table_that_is_started_again_is_joined_again(Config) ->
    Path = path(Config),
    with_nodes(2, fun([A, B] = Peers) ->
        write_file(Path, Peers),
        start(Peers, [?TAB], #{disco_file => Path, retry_intervals => #{initial => 60_000, after_error => 50}}),
        await_ready(Peers),
        ok = call(A, ferrets, insert, [?TAB, {1}]),
        true = call(B, erlang, exit, [server(B, ?TAB), kill]),
        wait_until(fun() -> server(B, ?TAB) =:= undefined end),
        start_table([B], ?TAB),
        await_mesh(Peers, ?TAB),
        ?assertEqual([{1}], call(B, ferrets, dump, [?TAB])),
        wait_until(fun() -> call(B, ferrets_test_log, count, [ferrets_table_down]) =:= 1 end)
    end).

readiness_waits_for_the_data(Config) ->
    Path = path(Config),
    with_nodes(2, fun([A, B] = Peers) ->
        start_table(Peers, ?TAB),
        ok = call(A, fun() -> ferrets:insert_many(?TAB, [{N, <<0:800>>} || N <- lists:seq(1, 100_000)]) end),
        write_file(Path, Peers),
        [start_disco(Peer, #{disco_file => Path, tables => [?TAB]}) || Peer <- [B, A]],
        ok = call(B, ferrets_discovery, wait_for_ready, [disco, 60_000]),
        ?assertEqual(100_000, call(B, ferrets, size, [?TAB])),
        ?assertMatch([_], call(B, ferrets_test_log, reports, [ferrets_ready]))
    end).

a_node_without_the_table_holds_up_nobody(Config) ->
    Path = path(Config),
    with_nodes(3, fun([A, B, C] = Peers) ->
        write_file(Path, Peers),
        start([A, B], [?TAB], #{disco_file => Path}),
        await_ready([A, B]),
        await_mesh([A, B], ?TAB),
        Bare = node(C),
        ?assertMatch(
            [_],
            [R || #{node := Node, reason := undefined} = R <- maps:get(results, system_info(A)), Node =:= Bare]
        ),
        %% Said once, though it is found again ten times a second.
        ?assertEqual(1, call(A, ferrets_test_log, count, [ferrets_table_not_found])),
        start_table([C], ?TAB),
        await_mesh(Peers, ?TAB)
    end).

%% ---------------------------------------------------------------- all at once

%% Every node is stopped and started again, one after the other, while all write. A row whose write was acknowledged is there
%% in the end, as it was last written.
a_rolling_restart_under_load_loses_nothing(Config) ->
    Path = path(Config),
    with_nodes(5, ["+S", "1"], fun(Peers) ->
        write_file(Path, Peers),
        start(Peers, [?TAB], #{disco_file => Path}),
        await_ready(Peers),
        [start_writers(Peer, ?TAB, first) || Peer <- Peers],
        {Now, Before} = roll(Peers, [], [], Path, ?TAB),
        try
            Acknowledged = Before ++ lists:append([stop_writers(Peer) || Peer <- Now]),
            await_mesh(Now, ?TAB),
            [Dump | Dumps] = [maps:from_list(Dump) || Dump <- dumps(Now, ?TAB)],
            [?assertEqual(Dump, Other) || Other <- Dumps],
            ct:pal("~p rows, ~p acknowledged last", [map_size(Dump), length(Acknowledged)]),
            ?assert(length(Acknowledged) > 100),
            ?assertEqual([], [Row || {Key, N} = Row <- Acknowledged, maps:get(Key, Dump, none) =/= N])
        after
            ferrets_test_cluster:stop(Now)
        end
    end).

roll([], Done, Rows, _Path, _Tab) ->
    {lists:reverse(Done), Rows};
roll([Peer | Rest], Done, Rows, Path, Tab) ->
    %% Its rows stay on the others; the new node writes others.
    Acknowledged = stop_writers(Peer),
    ferrets_test_cluster:stop([Peer]),
    New = ferrets_test_cluster:restart(Peer),
    ok = call(New, ferrets_test_log, start, []),
    start([New], [Tab], #{disco_file => Path}),
    await_ready([New]),
    roll(Rest, [start_writers(New, Tab, second) | Done], Acknowledged ++ Rows, Path, Tab).

%% Ten writers on a node, each with ten rows, which it counts up until it is stopped.
start_writers(Peer, Tab, Life) ->
    call(Peer, fun() ->
        register(writers, spawn(fun() ->
            Self = self(),
            Pids = [spawn_link(fun() -> count_up(Tab, Life, Self, I, #{}, 1) end) || I <- lists:seq(1, 10)],
            receive {stop, From, Ref} -> From ! {Ref, lists:append([stop_writer(Pid) || Pid <- Pids])} end
        end))
    end),
    Peer.

count_up(Tab, Life, Parent, I, Rows, N) ->
    Key = {erlang:node(), Life, I, N rem 10},
    ok = ferrets:insert(Tab, {Key, N}),
    receive stop -> Parent ! {self(), Rows#{Key => N}}
    after 0 -> count_up(Tab, Life, Parent, I, Rows#{Key => N}, N + 1)
    end.

stop_writer(Pid) ->
    Pid ! stop,
    receive {Pid, Rows} -> maps:to_list(Rows) end.

%% The rows whose writes were acknowledged.
stop_writers(Peer) ->
    call(Peer, fun() ->
        Ref = make_ref(),
        writers ! {stop, self(), Ref},
        receive {Ref, Rows} -> Rows end
    end).
