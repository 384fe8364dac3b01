%%% What goes beyond plain writes, on real nodes: leader operations, pauses, deletion of records as they were seen, conflict
%%% handlers, rows that go with their node, local writes, proofs of equality.
-module(ferrets_policy_SUITE).

-include_lib("stdlib/include/assert.hrl").

-compile(export_all).

-define(TAB, ?FUNCTION_NAME).

-import(ferrets_test_cluster, [cluster/1, dumps/2, call/2, call/4, node/1, server/2, start_joined/2, start_joined/3, wait_until/1]).

-compile({no_auto_import, [node/1]}).

all() ->
    [
        insert_new_succeeds_once_however_many_ask,
        insert_new_or_lookup_returns_what_is_there,
        insert_serial_writes_everywhere,
        a_leader_operation_with_a_bad_record_raises_badarg,
        a_leader_operation_on_no_table_exits_with_noproc,
        a_leader_that_denies_is_asked_again,
        a_leader_killed_during_insert_new_leaves_at_most_one_winner,
        writes_wait_for_the_end_of_a_pause_and_keep_their_order,
        several_may_pause_and_a_dead_pauser_is_unpaused,
        an_unknown_pause_is_named,
        a_record_is_deleted_only_as_it_was_seen,
        replicas_are_proven_equal,
        a_local_insert_makes_replicas_differ_until_they_sync,
        a_difference_that_a_comparison_finds_is_told,
        a_local_deletion_is_not_undone_by_a_sync,
        owned_rows_are_deleted_and_counted,
        a_conflict_handler_is_asked_once_per_key,
        a_conflict_handler_that_fails_leaves_the_newer_record,
        a_conflict_handler_and_a_bag_do_not_go_together,
        rows_of_a_lost_node_go_and_come_back_when_it_heals,
        a_peer_that_is_stopped_does_not_hold_up_writers_for_ever
    ].

init_per_suite(Config) ->
    ferrets_test_cluster:init_suite(3, Config).

end_per_suite(Config) ->
    ferrets_test_cluster:end_suite(Config).

end_per_testcase(Case, Config) ->
    ferrets_test_cluster:end_testcase(Case, Config).

%% ---------------------------------------------------------------- leader operations

insert_new_succeeds_once_however_many_ask(Config) ->
    Peers = cluster(Config),
    start_joined(Peers, ?TAB),
    Ask = fun() ->
        Self = self(),
        Callers = [spawn_link(fun() -> Self ! {self(), [ferrets:insert_new(?TAB, {K, N}) || K <- lists:seq(1, 50)]} end)
                   || N <- lists:seq(1, 10)],
        [receive {Caller, Answers} -> Answers end || Caller <- Callers]
    end,
    Results = [Result() || Result <- [ferrets_test_cluster:spawn(Peer, Ask) || Peer <- Peers]],
    Answers = lists:append(Results),
    Wins = [length([won || Row <- Answers, lists:nth(K, Row)]) || K <- lists:seq(1, 50)],
    ?assertEqual(lists:duplicate(50, 1), Wins),
    [Dump, Dump, Dump] = dumps(Peers, ?TAB),
    ?assertEqual(lists:seq(1, 50), [K || {K, _} <- Dump]).

insert_new_or_lookup_returns_what_is_there(Config) ->
    [A, B | _] = Peers = cluster(Config),
    start_joined(Peers, ?TAB),
    ?assertEqual({true, [{k, 1}]}, call(A, ferrets, insert_new_or_lookup, [?TAB, {k, 1}])),
    ?assertEqual({false, [{k, 1}]}, call(B, ferrets, insert_new_or_lookup, [?TAB, {k, 2}])),
    ok = call(B, ferrets, delete, [?TAB, k]),
    ?assertEqual({true, [{k, 3}]}, call(A, ferrets, insert_new_or_lookup, [?TAB, {k, 3}])).

insert_serial_writes_everywhere(Config) ->
    Peers = cluster(Config),
    start_joined(Peers, ?TAB),
    [ok = call(Peer, ferrets, insert_serial, [?TAB, {k, node(Peer)}]) || Peer <- Peers],
    Last = node(lists:last(Peers)),
    ?assertEqual([[{k, Last}], [{k, Last}], [{k, Last}]], dumps(Peers, ?TAB)).

a_leader_operation_with_a_bad_record_raises_badarg(Config) ->
    [A, B | _] = Peers = cluster(Config),
    start_joined(Peers, ?TAB, #{keypos => 2}),
    Server = server(B, ?TAB),
    [
        ?assertEqual(badarg, call(A, fun() -> try ferrets:Op(To, Bad) catch error:Reason -> Reason end end))
     || Op <- [insert_new, insert_new_or_lookup, insert_serial], To <- [?TAB, Server], Bad <- [{short}, no_tuple, [{a, b}]]
    ],
    ?assertEqual(true, call(A, ferrets, insert_new, [Server, {a, b}])).

a_leader_operation_on_no_table_exits_with_noproc(Config) ->
    [A | _] = cluster(Config),
    Exit = call(A, fun() -> try ferrets:insert_new(no_such_table, {a}) catch exit:Reason -> Reason end end),
    ?assertMatch({noproc, {gen_server, call, _}}, Exit).

a_leader_that_denies_is_asked_again(Config) ->
    [A | _] = Peers = cluster(Config),
    start_joined(Peers, ?TAB, #{handle_wrong_leader => fun(Info) -> ferrets_wrong ! Info end}),
    Leader = call(A, ferrets, get_leader, [?TAB]),
    [LeaderPeer] = [Peer || Peer <- Peers, node(Peer) =:= erlang:node(Leader)],
    Collect = ferrets_test_cluster:spawn(LeaderPeer, fun() ->
        register(ferrets_wrong, self()),
        ferrets:set_leader(?TAB, false),
        receive #{from := _, op := Op, server := Server} ->
            ferrets:set_leader(?TAB, true),
            {Op, Server}
        end
    end),
    wait_until(fun() -> call(LeaderPeer, erlang, whereis, [ferrets_wrong]) =/= undefined end),
    ?assertEqual(true, call(A, ferrets, insert_new, [?TAB, {k, v}])),
    ?assertEqual({{insert_new, {k, v}}, Leader}, Collect()).

a_leader_killed_during_insert_new_leaves_at_most_one_winner(_Config) ->
    Peers = ferrets_test_cluster:start(3),
    try
        start_joined(Peers, ?TAB),
        Leader = call(hd(Peers), ferrets, get_leader, [?TAB]),
        {[LeaderPeer], Others} = lists:partition(fun(Peer) -> node(Peer) =:= erlang:node(Leader) end, Peers),
        Ask = fun() ->
            [{K, try ferrets:insert_new(?TAB, {K, self()}) catch exit:_ -> unknown end} || K <- lists:seq(1, 3000)]
        end,
        Running = [ferrets_test_cluster:spawn(Peer, Ask) || Peer <- Others],
        wait_until(fun() -> call(hd(Others), ferrets, size, [?TAB]) > 200 end),
        ferrets_test_cluster:kill(LeaderPeer),
        [First, Second] = [Result() || Result <- Running],
        ?assertEqual([], [K || {{K, true}, {K, true}} <- lists:zip(First, Second)]),
        %% A winner's record is there; what nobody knows of may be there or not.
        [Dump, Dump] = dumps(Others, ?TAB),
        Keys = sets:from_list([K || {K, _} <- Dump]),
        ?assertEqual([], [K || {K, true} <- First ++ Second, not sets:is_element(K, Keys)])
    after
        ferrets_test_cluster:stop(Peers)
    end.

%% ---------------------------------------------------------------- pauses

writes_wait_for_the_end_of_a_pause_and_keep_their_order(Config) ->
    [A, B | _] = Peers = cluster(Config),
    start_joined(Peers, ?TAB),
    Server = server(A, ?TAB),
    Seen = call(A, fun() ->
        Pause = ferrets:pause(?TAB),
        Requests = [ferrets:insert_request(?TAB, {k, N}) || N <- lists:seq(1, 100)],
        Deletion = ferrets:delete_request(?TAB, k),
        Last = ferrets:insert_request(?TAB, {k, last}),
        [timeout = ferrets:wait_response(Request, 0) || Request <- Requests],
        [] = ferrets:lookup(?TAB, k),
        [Pause] = maps:get(pause_monitors, ferrets:info(?TAB)),
        ok = ferrets:unpause(?TAB, Pause),
        %% Direct again, or still behind the others: in its order in any case.
        Afterwards = ferrets:insert_request(?TAB, {k, afterwards}),
        [{reply, ok} = R || R <- ferrets:wait_responses(Requests ++ [Deletion, Last, Afterwards], infinity)],
        ferrets:lookup(?TAB, k)
    end),
    ?assertEqual([{k, afterwards}], Seen),
    %% A caller elsewhere waits as well.
    Pause = call(B, fun() ->
        Monitor = ferrets:pause(Server),
        Request = ferrets:insert_request(Server, {remote, 1}),
        timeout = ferrets:wait_response(Request, 50),
        ok = ferrets:unpause(Server, Monitor),
        ferrets:wait_response(Request, infinity)
    end),
    ?assertEqual({reply, ok}, Pause).

several_may_pause_and_a_dead_pauser_is_unpaused(Config) ->
    [A | _] = Peers = cluster(Config),
    start_joined(Peers, ?TAB),
    Answer = call(A, fun() ->
        {Dead, Monitor} = spawn_monitor(fun() -> ferrets:pause(?TAB), receive stop -> ok end end),
        Mine = ferrets:pause(?TAB),
        Request = ferrets:insert_request(?TAB, {k}),
        exit(Dead, kill),
        receive {'DOWN', Monitor, process, Dead, killed} -> ok end,
        pong = ferrets:ping(?TAB),
        timeout = ferrets:wait_response(Request, 50),
        ok = ferrets:unpause(?TAB, Mine),
        ferrets:wait_response(Request, infinity)
    end),
    ?assertEqual({reply, ok}, Answer),
    ok = call(A, ferrets, insert, [?TAB, {direct}]).

an_unknown_pause_is_named(Config) ->
    [A | _] = Peers = cluster(Config),
    start_joined(Peers, ?TAB),
    ?assertEqual({error, unknown_pause_monitor}, call(A, fun() -> ferrets:unpause(?TAB, make_ref()) end)).

%% ---------------------------------------------------------------- deletions of records

a_record_is_deleted_only_as_it_was_seen(Config) ->
    [A, B | _] = Peers = cluster(Config),
    start_joined(Peers, ?TAB),
    ok = call(A, ferrets, insert_many, [?TAB, [{a, 1}, {b, 1}, {c, 1}]]),
    ok = call(B, ferrets, delete_object, [?TAB, {a, 2}]),
    ok = call(B, ferrets, delete_objects, [?TAB, [{b, 1}, {absent, 1}]]),
    {reply, ok} = call(B, fun() -> ferrets:wait_response(ferrets:delete_object_request(?TAB, {c, 1}), infinity) end),
    ?assertEqual([[{a, 1}], [{a, 1}], [{a, 1}]], dumps(Peers, ?TAB)).

%% ---------------------------------------------------------------- proofs and local writes

replicas_are_proven_equal(Config) ->
    [A | _] = Peers = cluster(Config),
    start_joined(Peers, ?TAB),
    ok = call(A, ferrets, insert_many, [?TAB, [{N} || N <- lists:seq(1, 1000)]]),
    ?assertEqual([ok, ok, ok], [call(Peer, ferrets, verify, [?TAB]) || Peer <- Peers]),
    [Digest, Digest, Digest] = [call(Peer, ferrets, digest, [?TAB]) || Peer <- Peers],
    ok = call(A, ferrets, insert, [?TAB, {1}]),
    ?assertNotEqual(Digest, call(A, ferrets, digest, [?TAB])).

%% Local inserts are what can make replicas differ. Those that a comparison finds late enough are counted.
a_difference_that_a_comparison_finds_is_told(Config) ->
    [A, B | _] = cluster(Config),
    start_joined([A, B], ?TAB, #{stall_timeout => 300, compare_interval => 1000}),
    Diverged = fun(Peer) ->
        #{counters := #{diverged := Count}} = call(Peer, ferrets, info, [?TAB]),
        Count
    end,
    ?assertEqual([0, 0], [Diverged(Peer) || Peer <- [A, B]]),
    wait_until(fun() ->
        true = call(A, ferrets_local, insert, [?TAB, {make_ref()}]),
        Diverged(B) > 0
    end),
    ?assertEqual(0, Diverged(A)).

a_local_insert_makes_replicas_differ_until_they_sync(Config) ->
    [A, B | _] = Peers = cluster(Config),
    start_joined(Peers, ?TAB),
    true = call(A, ferrets_local, insert, [?TAB, {only, here}]),
    ?assertEqual([[{only, here}], [], []], dumps(Peers, ?TAB)),
    ?assertMatch({error, [{_, {digest_differs, _}}, {_, {digest_differs, _}}]}, call(A, ferrets, verify, [?TAB])),
    ok = call(B, ferrets, sync, [?TAB]),
    wait_until(fun() -> call(A, ferrets, verify, [?TAB]) =:= ok orelse call(A, ferrets, sync, [?TAB]) =:= later end),
    ?assertEqual([[{only, here}], [{only, here}]], dumps([A, B], ?TAB)).

a_local_deletion_is_not_undone_by_a_sync(Config) ->
    [A, B | _] = Peers = cluster(Config),
    start_joined(Peers, ?TAB),
    ok = call(A, ferrets, insert_many, [?TAB, [{a, 1}, {b, 1}, {c, 1}]]),
    true = call(B, ferrets_local, delete, [?TAB, a]),
    true = call(B, ferrets_local, delete_object, [?TAB, {b, 1}]),
    true = call(B, ferrets_local, delete_object, [?TAB, {c, 2}]),
    ?assertEqual([[{a, 1}, {b, 1}, {c, 1}], [{c, 1}]], dumps([A, B], ?TAB)),
    ok = call(B, ferrets, sync, [?TAB]),
    wait_until(fun() -> dumps([A, B], ?TAB) =:= [[{c, 1}], [{c, 1}]] end),
    true = call(B, ferrets_local, delete_all_objects, [?TAB]),
    ?assertEqual(0, call(B, ferrets, size, [?TAB])).

owned_rows_are_deleted_and_counted(Config) ->
    [A, B | _] = Peers = cluster(Config),
    start_joined(Peers, ?TAB),
    ok = call(A, ferrets, insert_many, [?TAB, [{{a, N}} || N <- lists:seq(1, 3000)]]),
    ok = call(B, ferrets, insert_many, [?TAB, [{{b, N}} || N <- lists:seq(1, 2000)]]),
    ?assertEqual(2000, call(A, ferrets_local, delete_owned, [?TAB, node(B)])),
    ?assertEqual(3000, call(A, ferrets, size, [?TAB])),
    ?assertEqual(5000, call(B, ferrets, size, [?TAB])),
    ?assertEqual(0, call(A, ferrets_local, delete_owned, [?TAB, 'nobody@nowhere'])).

%% ---------------------------------------------------------------- conflicts

a_conflict_handler_is_asked_once_per_key(_Config) ->
    Peers = ferrets_test_cluster:start(4),
    try
        Handler = fun({K, V1}, {K, V2}) ->
            ets:update_counter(asked, K, 1, {K, 0}),
            {K, max(V1, V2)}
        end,
        [call(Peer, fun() ->
            Self = self(),
            spawn(fun() -> ets:new(asked, [named_table, public]), Self ! ready, receive stop -> ok end end),
            receive ready -> ok end
        end) || Peer <- Peers],
        ferrets_test_cluster:start_table(Peers, ?TAB, #{handle_conflict => Handler}),
        [A, B, C, D] = Peers,
        ok = ferrets_test_cluster:join(?TAB, A, B),
        ok = ferrets_test_cluster:join(?TAB, C, D),
        ok = call(B, ferrets, insert_many, [?TAB, [{N, N rem 7} || N <- lists:seq(1, 500)]]),
        ok = call(D, ferrets, insert_many, [?TAB, [{N, N rem 5} || N <- lists:seq(250, 700)]]),
        ok = ferrets_test_cluster:join(?TAB, B, C),
        Both = fun(N) -> max(N rem 7, N rem 5) end,
        Expected =
            [{N, N rem 7} || N <- lists:seq(1, 249)] ++ [{N, Both(N)} || N <- lists:seq(250, 500)] ++
                [{N, N rem 5} || N <- lists:seq(501, 700)],
        ?assertEqual(lists:duplicate(4, Expected), dumps(Peers, ?TAB)),
        Asked = lists:append([call(Peer, ets, tab2list, [asked]) || Peer <- Peers]),
        %% Not for those keys whose records happen to be the same.
        Different = [N || N <- lists:seq(250, 500), N rem 7 =/= N rem 5],
        ?assertEqual([{N, 1} || N <- Different], lists:sort(Asked)),
        ?assertEqual(ok, call(A, ferrets, verify, [?TAB]))
    after
        ferrets_test_cluster:stop(Peers)
    end.

a_conflict_handler_that_fails_leaves_the_newer_record(_Config) ->
    [A, B] = Peers = ferrets_test_cluster:start(2),
    try
        Handler = fun
            ({raises, _}, _) -> error(no_idea);
            ({no_record, _}, _) -> ok;
            ({other_key, _}, _) -> {another_key, 0}
        end,
        ferrets_test_cluster:start_table(Peers, ?TAB, #{handle_conflict => Handler}),
        Keys = [no_record, other_key, raises],
        ok = call(A, ferrets, insert_many, [?TAB, [{K, older} || K <- Keys]]),
        ok = call(B, ferrets, insert_many, [?TAB, [{K, newer} || K <- Keys]]),
        ok = ferrets_test_cluster:join(?TAB, A, B),
        Expected = [{K, newer} || K <- Keys],
        ?assertEqual([Expected, Expected], dumps(Peers, ?TAB))
    after
        ferrets_test_cluster:stop(Peers)
    end.

a_conflict_handler_and_a_bag_do_not_go_together(_Config) ->
    ?assertEqual(
        {error, [bag_with_conflict_handler]},
        ferrets:start(?TAB, #{type => bag, handle_conflict => fun(Record, _) -> Record end})
    ).

%% ---------------------------------------------------------------- lost nodes

rows_of_a_lost_node_go_and_come_back_when_it_heals(_Config) ->
    %% Else `global' would cut A from B as well.
    [A, B, C] = Peers = ferrets_test_cluster:start(3, ["-kernel", "prevent_overlapping_partitions", "false"]),
    try
        start_joined(Peers, ?TAB, #{on_nodedown => delete_owned}),
        [ok = call(Peer, ferrets, insert_many, [?TAB, [{{node(Peer), N}} || N <- lists:seq(1, 500)]]) || Peer <- Peers],
        ferrets_test_cluster:cut([A, B], [C]),
        wait_until(fun() -> [call(Peer, ferrets, size, [?TAB]) || Peer <- Peers] =:= [1000, 1000, 500] end),
        ?assertEqual([], [R || {{Node, _}} = R <- call(A, ferrets, dump, [?TAB]), Node =:= node(C)]),
        ?assertEqual(ok, call(A, ferrets, verify, [?TAB])),
        ferrets_test_cluster:heal([A, B], [C]),
        ok = ferrets_test_cluster:join(?TAB, A, C),
        ?assertEqual([1500, 1500, 1500], [call(Peer, ferrets, size, [?TAB]) || Peer <- Peers]),
        ?assertEqual(ok, call(A, ferrets, verify, [?TAB])),
        ferrets_test_cluster:kill(C),
        wait_until(fun() -> [call(Peer, ferrets, size, [?TAB]) || Peer <- [A, B]] =:= [1000, 1000] end)
    after
        ferrets_test_cluster:stop(Peers)
    end.

a_peer_that_is_stopped_does_not_hold_up_writers_for_ever(_Config) ->
    [A, B] = Peers = ferrets_test_cluster:start(2),
    try
        start_joined(Peers, ?TAB, #{stall_timeout => 1500}),
        OsPid = call(B, os, getpid, []),
        [] = os:cmd("kill -STOP " ++ OsPid),
        {Us, ok} = call(A, timer, tc, [ferrets, insert, [?TAB, {during, stop}]]),
        ?assert(Us > 1_000_000),
        ?assertEqual([], call(A, ferrets, other_nodes, [?TAB])),
        [] = os:cmd("kill -CONT " ++ OsPid),
        wait_until(fun() -> call(A, ferrets, other_nodes, [?TAB]) =:= [node(B)] end),
        wait_until(fun() -> call(B, ferrets, lookup, [?TAB, during]) =:= [{during, stop}] end),
        ?assertEqual(ok, call(A, ferrets, verify, [?TAB]))
    after
        ferrets_test_cluster:stop(Peers)
    end.
