%%% Joins on real nodes: what they merge, what they refuse, and that any number may run at once.
-module(ferrets_join_SUITE).

-include_lib("stdlib/include/assert.hrl").

-compile(export_all).

-define(TAB, ?FUNCTION_NAME).

-import(ferrets_test_cluster, [cluster/1, dumps/2, call/2, call/4, join/3, server/2, start_joined/2, start_table/2, start_table/3, wait_until/1]).

all() ->
    [
        a_join_puts_the_records_of_both_sides_together,
        a_join_moves_large_tables,
        a_join_links_clusters_pair_by_pair,
        a_server_is_joined_once,
        servers_of_one_node_join_under_different_names,
        two_joins_from_both_sides_at_once_both_end_linked,
        a_server_that_another_join_brings_meanwhile_is_linked_too,
        ten_nodes_join_at_once,
        writes_go_on_during_a_join_and_all_arrive,
        a_join_with_the_dead_fails_and_changes_nothing,
        a_server_that_dies_during_a_join_fails_it,
        checkpoints_are_passed_in_their_order,
        a_server_that_dies_at_any_checkpoint_leaves_no_half_of_a_join,
        a_node_that_is_killed_at_any_checkpoint_leaves_no_half_of_a_join,
        a_pair_that_cannot_reach_each_other_fails_the_join_and_nothing_changes,
        tables_that_do_not_fit_refuse_each_other,
        a_join_leaves_nothing_in_the_callers_mailbox
    ].

init_per_suite(Config) ->
    ferrets_test_cluster:init_suite(4, Config).

end_per_suite(Config) ->
    ferrets_test_cluster:end_suite(Config).

end_per_testcase(Case, Config) ->
    ferrets_test_cluster:end_testcase(Case, Config).

is_meshed(Peers, Tab) ->
    Pids = [server(Peer, Tab) || Peer <- Peers],
    lists:all(
        fun({Peer, Pid}) -> call(Peer, ferrets, other_pids, [Tab]) =:= lists:sort(Pids -- [Pid]) end,
        lists:zip(Peers, Pids)
    ).

%% ---------------------------------------------------------------- what is merged

a_join_puts_the_records_of_both_sides_together(Config) ->
    [A, B | _] = cluster(Config),
    start_table([A, B], ?TAB),
    ok = call(A, ferrets, insert_many, [?TAB, [{a}, {both, older}]]),
    ok = call(B, ferrets, insert_many, [?TAB, [{b}, {both, newer}]]),
    ?assertEqual(ok, join(?TAB, A, B)),
    Merged = [{a}, {b}, {both, newer}],
    ?assertEqual([Merged, Merged], dumps([A, B], ?TAB)),
    ?assert(is_meshed([A, B], ?TAB)).

a_join_moves_large_tables(Config) ->
    [A, B | _] = cluster(Config),
    start_table([A, B], ?TAB),
    %% Key by key from one side and the other, and each 50th from both.
    Keys = fun(Rest) -> [{key, N} || N <- lists:seq(1, 100_000), N rem 2 =:= Rest orelse N rem 50 =:= 0] end,
    Write = fun(Name, Rest) -> ferrets:insert_many(?TAB, [{Key, Name, <<0:512>>} || Key <- Keys(Rest)]) end,
    [ok = call(Peer, fun() -> Write(Name, Rest) end) || {Peer, Name, Rest} <- [{A, a, 0}, {B, b, 1}]],
    ?assertEqual(ok, join(?TAB, A, B)),
    [Dump, Dump] = [call(Peer, fun() -> ferrets:foldr(fun(R, Acc) -> [R | Acc] end, [], ?TAB) end) || Peer <- [A, B]],
    ?assertEqual([{key, N} || N <- lists:seq(1, 100_000)], [Key || {Key, _, _} <- Dump]),
    [?assert(call(Peer, fun() -> lists:all(fun(R) -> ferrets:lookup(?TAB, element(1, R)) =:= [R] end, Dump) end)) || Peer <- [A, B]],
    Writers = fun(Rest) -> lists:usort([Name || {{key, N}, Name, _} <- Dump, N rem 50 =:= Rest]) end,
    ?assertEqual([[b], [b], [a]], lists:map(Writers, [0, 1, 2])).

a_join_links_clusters_pair_by_pair(Config) ->
    [A, B, C, D] = Peers = cluster(Config),
    start_joined([A, B], ?TAB),
    start_joined([C, D], ?TAB),
    ok = call(A, ferrets, insert, [?TAB, {a}]),
    ok = call(D, ferrets, insert, [?TAB, {d}]),
    ?assertEqual(ok, join(?TAB, B, C)),
    ?assert(is_meshed(Peers, ?TAB)),
    ?assertEqual(lists:duplicate(4, [{a}, {d}]), dumps(Peers, ?TAB)).

a_server_is_joined_once(Config) ->
    [A, B | _] = cluster(Config),
    start_joined([A, B], ?TAB),
    ?assertEqual({error, already_joined}, join(?TAB, A, B)),
    ?assertEqual({error, already_joined}, join(?TAB, B, A)),
    ?assertEqual({error, join_with_the_same_pid}, join(?TAB, A, A)).

servers_of_one_node_join_under_different_names(Config) ->
    [A | _] = cluster(Config),
    call(A, fun() ->
        {ok, First} = ferrets:start(?TAB, #{}),
        {ok, Second} = ferrets:start(other_name, #{}),
        ok = ferrets:insert(?TAB, {1}),
        ok = ferrets_join:join(lock, #{}, First, Second),
        ok = ferrets:insert(other_name, {2}),
        [{1}, {2}] = ferrets:dump(?TAB),
        [{1}, {2}] = ferrets:dump(other_name),
        [Second] = ferrets:other_pids(?TAB),
        [Node] = ferrets:other_nodes(other_name),
        Node = node(),
        ok = ferrets:stop(other_name)
    end),
    wait_until(fun() -> call(A, ferrets, other_pids, [?TAB]) =:= [] end).

%% ---------------------------------------------------------------- many at once

two_joins_from_both_sides_at_once_both_end_linked(Config) ->
    [A, B | _] = cluster(Config),
    [
        begin
            start_table([A, B], ?TAB),
            ok = call(A, ferrets, insert_many, [?TAB, [{{a, N}} || N <- lists:seq(1, 1000)]]),
            ok = call(B, ferrets, insert_many, [?TAB, [{{b, N}} || N <- lists:seq(1, 1000)]]),
            {ServerOfA, ServerOfB} = {server(A, ?TAB), server(B, ?TAB)},
            Results = join_at_once([{A, {ServerOfA, ServerOfB}}, {B, {ServerOfB, ServerOfA}}]),
            [?assert(lists:member(Result, [ok, {error, already_joined}])) || Result <- Results],
            ?assert(is_meshed([A, B], ?TAB)),
            ?assertEqual([2000, 2000], [call(Peer, ferrets, size, [?TAB]) || Peer <- [A, B]]),
            [ok = call(Peer, ferrets, stop, [?TAB]) || Peer <- [A, B]]
        end
     || _ <- lists:seq(1, 10)
    ].

%% All nodes are connected, and their clocks are one: the joins start within a millisecond.
join_at_once(Joins) ->
    Peers = [Peer || {Peer, _} <- Joins],
    [pong = call(A, net_adm, ping, [ferrets_test_cluster:node(B)]) || A <- Peers, B <- Peers],
    StartMs = erlang:system_time(millisecond) + 200,
    Awaits = [
        ferrets_test_cluster:spawn(Peer, fun() ->
            receive after max(0, StartMs - erlang:system_time(millisecond)) -> ok end,
            ferrets_join:join(lock, #{}, Local, Remote)
        end)
     || {Peer, {Local, Remote}} <- Joins
    ],
    [Await() || Await <- Awaits].

a_server_that_another_join_brings_meanwhile_is_linked_too(Config) ->
    [A, B, C | _] = cluster(Config),
    [ServerOfA, ServerOfB, ServerOfC] = start_table([A, B, C], ?TAB),
    ok = call(B, fun() -> ferrets:insert_many(?TAB, [{N} || N <- lists:seq(1, 100_000)]) end),
    Join = ferrets_test_cluster:spawn(A, fun() -> ferrets_join:join(lock, #{}, ServerOfA, ServerOfB) end),
    wait_until(fun() -> call(B, ferrets, other_pids, [?TAB]) =:= [ServerOfA] end),
    %% The join is past its survey, and stays in its wait for the sync.
    ok = call(A, sys, suspend, [?TAB]),
    %% What another join, which knows nothing of this one, asks for.
    _ = call(C, fun() -> ferrets_request:send(ServerOfC, {link, ServerOfB}) end),
    wait_until(fun() -> length(call(B, ferrets, other_pids, [?TAB])) =:= 2 end),
    ok = call(A, sys, resume, [?TAB]),
    ?assertEqual(ok, Join()),
    ?assert(is_meshed([A, B, C], ?TAB)),
    ?assertEqual([100_000, 100_000, 100_000], [call(Peer, ferrets, size, [?TAB]) || Peer <- [A, B, C]]).

ten_nodes_join_at_once(_Config) ->
    Peers = ferrets_test_cluster:start(10, ["+S", "1", "+sbwt", "none"]),
    try
        Pids = start_table(Peers, ?TAB),
        [ok = call(Peer, ferrets, insert, [?TAB, {I}]) || {I, Peer} <- lists:enumerate(Peers)],
        Results = join_at_once([
            {Peer, {Local, Remote}}
         || {Peer, Local, Remote} <- lists:zip3(Peers, Pids, tl(Pids) ++ [hd(Pids)])
        ]),
        [?assert(lists:member(Result, [ok, {error, already_joined}])) || Result <- Results],
        ?assert(is_meshed(Peers, ?TAB)),
        All = [{I} || I <- lists:seq(1, 10)],
        ?assertEqual(lists:duplicate(10, All), dumps(Peers, ?TAB))
    after
        ferrets_test_cluster:stop(Peers)
    end.

writes_go_on_during_a_join_and_all_arrive(Config) ->
    [A, B, C | _] = cluster(Config),
    start_table([A, B, C], ?TAB),
    Fill = fun() ->
        Node = node(),
        ferrets:insert_many(?TAB, [{{Node, N}, <<N:512>>} || N <- lists:seq(1, 20_000)])
    end,
    [ok = call(Peer, Fill) || Peer <- [A, B, C]],
    Writers = [
        ferrets_test_cluster:spawn(Peer, fun() ->
            Node = node(),
            [ok = ferrets:insert(?TAB, {{live, Node, N}}) || N <- lists:seq(1, 3000)],
            [ok = ferrets:delete(?TAB, {Node, N}) || N <- lists:seq(1, 1000)],
            ok
        end)
     || Peer <- [A, B, C]
    ],
    ?assertEqual(ok, join(?TAB, A, B)),
    ?assertEqual(ok, join(?TAB, C, B)),
    [ok = Await() || Await <- Writers],
    [ok = call(Peer, ferrets, ping_all, [?TAB]) || Peer <- [A, B, C]],
    [Dump, Dump, Dump] = dumps([A, B, C], ?TAB),
    ?assertEqual(3 * (20_000 - 1000 + 3000), length(Dump)).

%% ---------------------------------------------------------------- failures

a_join_with_the_dead_fails_and_changes_nothing(Config) ->
    [A, B | _] = cluster(Config),
    [Local, Remote] = start_table([A, B], ?TAB),
    ok = call(B, ferrets, stop, [?TAB]),
    ?assertMatch(
        {error, {task_failed, {server_down, noproc}, #{table := ?TAB, pid := Remote}}},
        call(A, ferrets_join, join, [lock, #{table => ?TAB}, Local, Remote])
    ),
    ?assertEqual([], call(A, ferrets, other_pids, [?TAB])),
    ?assertEqual(pong, call(A, ferrets, ping, [?TAB])).

a_server_that_dies_during_a_join_fails_it(Config) ->
    [A, B | _] = cluster(Config),
    [Local, Remote] = start_table([A, B], ?TAB),
    %% It will say nothing, and then die.
    ok = call(B, sys, suspend, [?TAB]),
    Join = ferrets_test_cluster:spawn(A, fun() -> ferrets_join:join(lock, #{}, Local, Remote) end),
    wait_until(fun() -> call(B, fun() -> process_info(Remote, message_queue_len) =/= {message_queue_len, 0} end) end),
    true = call(B, erlang, exit, [Remote, kill]),
    ?assertMatch({error, {task_failed, {server_down, killed}, #{pid := Remote}}}, Join()),
    ?assertEqual([], call(A, ferrets, other_pids, [?TAB])).

-define(CHECKPOINTS, [started, surveyed, reached, leaders_linked, linked, confirmed]).

checkpoints_are_passed_in_their_order(Config) ->
    [A, B | _] = cluster(Config),
    [Local, Remote] = start_table([A, B], ?TAB),
    Passed = call(A, fun() ->
        Self = self(),
        Handler = fun(Checkpoint) -> Self ! {passed, Checkpoint} end,
        ok = ferrets_join:join(lock, #{}, Local, Remote, #{checkpoint_handler => Handler}),
        [receive {passed, Checkpoint} -> Checkpoint end || _ <- ?CHECKPOINTS]
    end),
    ?assertEqual(?CHECKPOINTS, Passed).

%% Two and two servers are joined, and one of the four dies, the one that is the join's own side or any other.
a_server_that_dies_at_any_checkpoint_leaves_no_half_of_a_join(Config) ->
    [A, B, C, D] = Peers = cluster(Config),
    [
        begin
            start_joined([A, B], ?TAB),
            start_joined([C, D], ?TAB),
            Pid = server(Victim, ?TAB),
            Result = join_and_kill(A, C, ?TAB, Checkpoint, fun() -> exit(Pid, kill) end),
            check_no_half(Result, [A, B], [C, D], Victim, ?TAB),
            [call(Peer, ferrets, stop, [?TAB]) || Peer <- Peers, Peer =/= Victim]
        end
     || Checkpoint <- ?CHECKPOINTS, Victim <- Peers
    ].

a_node_that_is_killed_at_any_checkpoint_leaves_no_half_of_a_join(_Config) ->
    [
        begin
            Peers = [A, B, C] = ferrets_test_cluster:start(3),
            try
                start_joined([A, B], ?TAB),
                start_table([C], ?TAB),
                Kill = "kill -KILL " ++ call(B, os, getpid, []),
                Result = join_and_kill(A, C, ?TAB, Checkpoint, fun() -> [] = os:cmd(Kill) end),
                check_no_half(Result, [A, B], [C], B, ?TAB)
            after
                ferrets_test_cluster:stop(Peers)
            end
        end
     || Checkpoint <- ?CHECKPOINTS
    ].

join_and_kill(A, C, Tab, Checkpoint, Kill) ->
    Pids = {server(A, Tab), server(C, Tab)},
    call(A, fun() ->
        {Local, Remote} = Pids,
        Handler = fun(Passed) -> Passed =:= Checkpoint andalso Kill() end,
        ferrets_join:join(lock, #{}, Local, Remote, #{checkpoint_handler => Handler})
    end).

%% Those that are left are all linked, or the two sides are apart as before; and a write goes to all that are linked.
check_no_half(Result, Left, Right, Victim, Tab) ->
    case Result of
        ok -> ok;
        {error, {task_failed, _, _}} -> ok
    end,
    [Left1, Right1] = [Side -- [Victim] || Side <- [Left, Right]],
    IsApart = fun() -> is_meshed(Left1, Tab) andalso is_meshed(Right1, Tab) end,
    wait_until(fun() -> is_meshed(Left1 ++ Right1, Tab) orelse IsApart() end),
    [Writer | _] = Left1,
    ok = call(Writer, ferrets, insert, [Tab, {written, afterwards}]),
    Reached = [Writer | [Peer || Peer <- Left1 ++ Right1, lists:member(server(Peer, Tab), call(Writer, ferrets, other_pids, [Tab]))]],
    [?assertEqual([{written, afterwards}], call(Peer, ferrets, lookup, [Tab, written])) || Peer <- Reached].

a_pair_that_cannot_reach_each_other_fails_the_join_and_nothing_changes(_Config) ->
    %% `global' would cut more than we do.
    Peers = [A, B, C] = ferrets_test_cluster:start(3, ["-kernel", "prevent_overlapping_partitions", "false"]),
    try
        start_joined([A, B], ?TAB),
        start_table([C], ?TAB),
        ok = call(C, ferrets, insert, [?TAB, {c}]),
        ferrets_test_cluster:cut([A], [C]),
        ?assertMatch(
            {error, {task_failed, check_could_reach_each_other_failed, #{unreachable := [_ | _]}}},
            join(?TAB, B, C)
        ),
        ?assertEqual([[], [], [{c}]], dumps(Peers, ?TAB)),
        ?assertEqual([], call(C, ferrets, other_pids, [?TAB])),
        ?assert(is_meshed([A, B], ?TAB)),
        ferrets_test_cluster:heal([A], [C]),
        ?assertEqual(ok, join(?TAB, B, C)),
        ?assert(is_meshed(Peers, ?TAB))
    after
        ferrets_test_cluster:stop(Peers)
    end.

tables_that_do_not_fit_refuse_each_other(Config) ->
    [A, B | _] = cluster(Config),
    [
        begin
            start_table([A], ?TAB, OptionsOfA),
            start_table([B], ?TAB, OptionsOfB),
            ok = call(A, ferrets, insert, [?TAB, {a, a}]),
            ?assertMatch({error, {task_failed, {refused, _}, #{pair := _}}}, join(?TAB, A, B)),
            [?assertEqual([], call(Peer, ferrets, other_pids, [?TAB])) || Peer <- [A, B]],
            ?assertEqual([[{a, a}], []], dumps([A, B], ?TAB)),
            [ok = call(Peer, ferrets, stop, [?TAB]) || Peer <- [A, B]]
        end
     || {OptionsOfA, OptionsOfB} <- [
            {#{keypos => 1}, #{keypos => 2}},
            {#{type => set}, #{type => ordered_set}}
        ]
    ].

a_join_leaves_nothing_in_the_callers_mailbox(Config) ->
    [A, B | _] = cluster(Config),
    [Local, Remote] = start_table([A, B], ?TAB),
    Messages = call(A, fun() ->
        ok = ferrets_join:join(lock, #{}, Local, Remote),
        {error, already_joined} = ferrets_join:join(lock, #{}, Local, Remote),
        process_info(self(), messages)
    end),
    ?assertEqual({messages, []}, Messages).
