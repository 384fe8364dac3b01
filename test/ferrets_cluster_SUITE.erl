%%% Three real nodes with joined tables: replication, callers on other nodes, the loss of a node, cuts and heals.
-module(ferrets_cluster_SUITE).

-include_lib("stdlib/include/assert.hrl").

-compile(export_all).

-define(TAB, ?FUNCTION_NAME).

-import(ferrets_test_cluster, [cluster/1, dumps/2, call/2, call/4, node/1, server/2, start_joined/2, start_joined/3, wait_until/1]).

-compile({no_auto_import, [node/1]}).

all() ->
    [
        a_write_that_returned_is_read_on_every_node,
        a_delete_that_returned_is_seen_on_every_node,
        a_list_is_replicated_whole,
        raced_writes_to_the_same_keys_converge,
        writes_of_one_process_arrive_in_its_order,
        requests_are_answered_when_every_node_has_them,
        ping_all_waits_for_what_is_in_flight,
        every_node_names_the_same_leader_and_nodes,
        a_caller_on_another_node_writes_by_pid,
        a_caller_on_another_node_keeps_its_order,
        a_bad_record_from_another_node_raises_there_and_harms_nothing,
        a_long_list_from_another_node_does_not_hold_up_the_server,
        a_caller_that_dies_leaves_its_write_to_all,
        a_server_that_ends_is_named_once_on_each_survivor,
        a_callback_that_raises_hangs_or_calls_harms_nothing,
        a_server_that_was_never_linked_is_not_named,
        a_writer_is_told_when_its_server_dies,
        a_writer_is_told_even_if_the_witness_has_been_killed,
        a_killed_node_under_load_loses_no_acknowledged_write,
        a_killed_node_comes_back_empty_and_is_filled,
        a_cut_leaves_both_sides_working_and_heals_to_one,
        a_cut_that_global_widens_heals_to_one,
        a_peer_that_was_away_while_its_peer_was_busy_is_linked_again,
        a_delete_made_during_a_cut_survives_the_heal
    ].

%% Tests that lose a node or cut the net have nodes of their own.
init_per_suite(Config) ->
    ferrets_test_cluster:init_suite(3, Config).

end_per_suite(Config) ->
    ferrets_test_cluster:end_suite(Config).

end_per_testcase(Case, Config) ->
    ferrets_test_cluster:end_testcase(Case, Config).

%% ---------------------------------------------------------------- replication

a_write_that_returned_is_read_on_every_node(Config) ->
    [A | _] = Peers = cluster(Config),
    start_joined(Peers, ?TAB),
    [
        begin
            ok = call(A, ferrets, insert, [?TAB, {N, value}]),
            [?assertEqual([{N, value}], call(Peer, ferrets, lookup, [?TAB, N])) || Peer <- Peers]
        end
     || N <- lists:seq(1, 100)
    ].

a_delete_that_returned_is_seen_on_every_node(Config) ->
    [A, B, _] = Peers = cluster(Config),
    start_joined(Peers, ?TAB),
    ok = call(A, ferrets, insert_many, [?TAB, [{1}, {2}, {3}]]),
    ok = call(B, ferrets, delete, [?TAB, 1]),
    ?assertEqual([[{2}, {3}], [{2}, {3}], [{2}, {3}]], dumps(Peers, ?TAB)),
    ok = call(B, ferrets, delete_many, [?TAB, [2, 3, 4]]),
    ?assertEqual([[], [], []], dumps(Peers, ?TAB)).

a_list_is_replicated_whole(Config) ->
    [A | _] = Peers = cluster(Config),
    start_joined(Peers, ?TAB),
    Records = [{N, <<N:256>>} || N <- lists:seq(1, 20_000)],
    ok = call(A, fun() -> ferrets:insert_many(?TAB, [{N, <<N:256>>} || N <- lists:seq(1, 20_000)]) end),
    [?assertEqual(Records, Dump) || Dump <- dumps(Peers, ?TAB)].

raced_writes_to_the_same_keys_converge(Config) ->
    Peers = cluster(Config),
    start_joined(Peers, ?TAB),
    Writers = [
        ferrets_test_cluster:spawn(Peer, fun() ->
            [ok = ferrets:insert(?TAB, {N, erlang:node()}) || N <- lists:seq(1, 3000)]
        end)
     || Peer <- Peers
    ],
    [Await() || Await <- Writers],
    [ok = call(Peer, ferrets, ping_all, [?TAB]) || Peer <- Peers],
    [Dump, Dump, Dump] = dumps(Peers, ?TAB),
    ?assertEqual(3000, length(Dump)).

writes_of_one_process_arrive_in_its_order(Config) ->
    [A, B, _] = Peers = cluster(Config),
    start_joined(Peers, ?TAB),
    Writer = ferrets_test_cluster:spawn(A, fun() ->
        Ids = [ferrets:insert_request(?TAB, {key, N}) || N <- lists:seq(1, 20_000)],
        ferrets:wait_responses(Ids, infinity)
    end),
    Seen = call(B, fun() -> watch(?TAB, key, 20_000, []) end),
    ?assertEqual(lists:usort(Seen), Seen),
    ?assertEqual([{reply, ok}], lists:usort(Writer())).

%% All values that a key was seen to have, until the last.
watch(Tab, Key, Last, Seen) ->
    case ferrets:lookup(Tab, Key) of
        [{Key, Last}] -> lists:reverse([Last | Seen]);
        [{Key, Value}] when Seen =:= []; Value =/= hd(Seen) -> watch(Tab, Key, Last, [Value | Seen]);
        _ -> watch(Tab, Key, Last, Seen)
    end.

requests_are_answered_when_every_node_has_them(Config) ->
    [A | _] = Peers = cluster(Config),
    start_joined(Peers, ?TAB),
    Answers = call(A, fun() ->
        ferrets:wait_responses(
            [
                ferrets:insert_request(?TAB, {1}),
                ferrets:insert_request(?TAB, [{2}, {3}]),
                ferrets:delete_request(?TAB, 1),
                ferrets:delete_many_request(?TAB, [3])
            ],
            5000
        )
    end),
    ?assertEqual([{reply, ok}, {reply, ok}, {reply, ok}, {reply, ok}], Answers),
    ?assertEqual([[{2}], [{2}], [{2}]], dumps(Peers, ?TAB)).

ping_all_waits_for_what_is_in_flight(Config) ->
    [A | _] = Peers = cluster(Config),
    start_joined(Peers, ?TAB),
    ok = call(A, fun() ->
        [ferrets:insert_request(?TAB, {N}) || N <- lists:seq(1, 10_000)],
        ferrets:ping_all(?TAB)
    end),
    ?assertEqual([10_000, 10_000, 10_000], [call(Peer, ferrets, size, [?TAB]) || Peer <- Peers]).

every_node_names_the_same_leader_and_nodes(Config) ->
    Peers = cluster(Config),
    Pids = start_joined(Peers, ?TAB),
    Nodes = lists:sort([node(Peer) || Peer <- Peers]),
    [Leader] = lists:usort([call(Peer, ferrets, get_leader, [?TAB]) || Peer <- Peers]),
    ?assert(lists:member(Leader, Pids)),
    [
        begin
            ?assertEqual(Nodes -- [node(Peer)], call(Peer, ferrets, other_nodes, [?TAB])),
            ?assertEqual(lists:sort(Pids -- [Pid]), call(Peer, ferrets, other_pids, [?TAB])),
            Info = call(Peer, ferrets, info, [?TAB]),
            ?assertMatch(#{nodes := Nodes, leader := Leader}, Info),
            ?assertEqual(
                lists:sort([{erlang:node(Other), Other} || Other <- Pids, Other =/= Pid]),
                lists:sort([{Node, Other} || #{node := Node, pid := Other, state := synced} <- maps:get(peers, Info)])
            ),
            ?assertEqual({reply, Nodes}, call(Peer, fun() ->
                ferrets:wait_response(ferrets:get_nodes_request(?TAB), 5000)
            end))
        end
     || {Peer, Pid} <- lists:zip(Peers, Pids)
    ].

%% ---------------------------------------------------------------- callers on other nodes

a_caller_on_another_node_writes_by_pid(Config) ->
    [A, B, C] = cluster(Config),
    [Server, _] = start_joined([A, B], ?TAB),
    Answers = call(C, fun() ->
        global:sync(),
        yes = global:register_name(?TAB, Server),
        [
            [
                ferrets:insert(Name, {Name, 1}),
                ferrets:insert_many(Name, [{Name, 2}, {x}]),
                ferrets:delete(Name, x),
                ferrets:delete_many(Name, [y]),
                ferrets:wait_response(ferrets:insert_request(Name, {z}), 5000),
                ferrets:ping(Name),
                ferrets:ping_all(Name),
                ferrets:table_name(Name),
                length(element(2, ferrets:remote_dump(Name)))
            ]
         || Name <- [Server, {global, ?TAB}, {via, global, ?TAB}]
        ]
    end),
    Row = [ok, ok, ok, ok, {reply, ok}, pong, ok, {ok, ?TAB}],
    ?assertEqual([Row ++ [2], Row ++ [3], Row ++ [4]], Answers),
    [Dump, Dump] = dumps([A, B], ?TAB),
    ?assertEqual(4, length(Dump)).

a_caller_on_another_node_keeps_its_order(Config) ->
    [A, B, C] = cluster(Config),
    [Server, _] = start_joined([A, B], ?TAB),
    Answers = call(C, fun() ->
        Ids = [
            [
                %% Too long for one slice of the server's time.
                ferrets:insert_request(Server, [{Key, N} || Key <- lists:seq(1, 20_000)]),
                ferrets:insert_request(Server, {20_000, {N, last}}),
                ferrets:delete_request(Server, 19_999)
            ]
         || N <- lists:seq(1, 5)
        ],
        ferrets:wait_responses(lists:append(Ids), infinity)
    end),
    ?assertEqual([{reply, ok}], lists:usort(Answers)),
    [?assertEqual([{19_998, 5}, {20_000, {5, last}}], lists:nthtail(19_997, Dump)) || Dump <- dumps([A, B], ?TAB)].

a_bad_record_from_another_node_raises_there_and_harms_nothing(Config) ->
    [A, B, C] = cluster(Config),
    [Server, _] = start_joined([A, B], ?TAB, #{keypos => 2}),
    call(C, fun() ->
        [
            begin
                ?assertError(badarg, ferrets:insert(Server, Bad)),
                ?assertError(badarg, ferrets:insert_many(Server, [{a, b}, Bad]))
            end
         || Bad <- [{short}, {}, no_tuple]
        ],
        ?assertError(badarg, ferrets:insert_many(Server, [{a, b} | improper])),
        ?assertError(badarg, ferrets:delete_many(Server, [a | improper])),
        ?assertEqual(
            {error, {badarg, Server}},
            ferrets:wait_response(ferrets:insert_request(Server, {short}), 5000)
        ),
        ?assertEqual({messages, []}, process_info(self(), messages))
    end),
    ?assertEqual(Server, server(A, ?TAB)),
    ?assertEqual([[], []], dumps([A, B], ?TAB)),
    ?assertEqual([node(B)], call(A, ferrets, other_nodes, [?TAB])).

a_long_list_from_another_node_does_not_hold_up_the_server(Config) ->
    [A, B, C] = cluster(Config),
    [Server, _] = start_joined([A, B], ?TAB),
    Pinged = call(C, fun() ->
        Id = ferrets:insert_request(Server, [{N} || N <- lists:seq(1, 200_000)]),
        Pinged = ping_until_answered(Server, Id, 0),
        200_000 = length(element(2, ferrets:remote_dump(Server))),
        Pinged
    end),
    ct:pal("~p pings were answered meanwhile", [Pinged]),
    ?assert(Pinged > 0).

ping_until_answered(Server, Id, Count) ->
    pong = ferrets:ping(Server),
    case ferrets:wait_response(Id, 0) of
        timeout -> ping_until_answered(Server, Id, Count + 1);
        {reply, ok} -> Count
    end.

a_caller_that_dies_leaves_its_write_to_all(Config) ->
    [A | _] = Peers = cluster(Config),
    start_joined(Peers, ?TAB),
    Written = call(A, fun() ->
        [
            begin
                {Pid, Monitor} = spawn_monitor(fun() -> [ferrets:insert(?TAB, {{N, I}}) || I <- lists:seq(1, 1000)] end),
                _ = [erlang:yield() || _ <- lists:seq(1, N * 10)],
                exit(Pid, kill),
                receive {'DOWN', Monitor, process, Pid, _} -> ok end
            end
         || N <- lists:seq(1, 100)
        ],
        ok = ferrets:ping_all(?TAB),
        ferrets:dump(?TAB)
    end),
    ?assertNotEqual([], Written),
    [?assertEqual(Written, Dump) || Dump <- dumps(Peers, ?TAB)].

%% ---------------------------------------------------------------- the loss of a server or a node

a_server_that_ends_is_named_once_on_each_survivor(Config) ->
    [A, B, C] = Peers = cluster(Config),
    Pids = [Lost | _] = start_joined(Peers, ?TAB, #{handle_down => fun ?MODULE:tell_collector/1}),
    Collectors = [call(Peer, fun() -> start_collector() end) || Peer <- [B, C]],
    ok = call(A, ferrets, stop, [?TAB]),
    wait_until(fun() -> [call(Peer, ferrets, other_nodes, [?TAB]) || Peer <- [B, C]] =:= [[node(C)], [node(B)]] end),
    Told = [call(Peer, fun() -> wait_until(fun() -> collected(?TAB) =/= [] end), collected(?TAB) end) || Peer <- [B, C]],
    LostNode = node(A),
    [
        ?assertMatch([#{remote_pid := Lost, remote_node := LostNode, table := ?TAB, is_leader := _}], Downs)
     || Downs <- Told
    ],
    ?assertEqual([false, true], lists:sort([Is || [#{is_leader := Is}] <- Told])),
    [?assertMatch(#{node_down_history := [LostNode]}, call(Peer, ferrets, info, [?TAB])) || Peer <- [B, C]],
    [call(Peer, erlang, exit, [Pid, kill]) || {Peer, Pid} <- lists:zip([B, C], Collectors)],
    ?assertEqual(3, length(Pids)).

%% A process that outlives the call that starts it, and what it was told.
start_collector() ->
    Pid = spawn(fun() -> collect([]) end),
    register(collector, Pid),
    Pid.

collect(Told) ->
    receive
        {down, Down} -> collect([Down | Told]);
        {told, From, Ref} -> From ! {Ref, Told}, collect(Told)
    end.

tell_collector(Down) ->
    collector ! {down, Down}.

collected(Tab) ->
    Ref = make_ref(),
    collector ! {told, self(), Ref},
    receive {Ref, Told} -> [Down || #{table := Of} = Down <- Told, Of =:= Tab] end.

a_callback_that_raises_hangs_or_calls_harms_nothing(Config) ->
    [A, B, C] = cluster(Config),
    Callbacks = [
        fun(_) -> error(on_purpose) end,
        fun(_) -> receive never -> ok end end,
        fun(#{table := Tab, remote_node := Node}) -> ok = ferrets:insert(Tab, {{seen, Node}}) end
    ],
    [
        begin
            start_joined([A, B, C], ?TAB, #{handle_down => Callback}),
            ok = call(A, ferrets, stop, [?TAB]),
            wait_until(fun() -> call(B, ferrets, other_nodes, [?TAB]) =:= [node(C)] end),
            ok = call(B, ferrets, insert, [?TAB, {after_down}]),
            ?assertEqual([{after_down}], call(C, ferrets, lookup, [?TAB, after_down])),
            ?assertEqual(pong, call(B, ferrets, ping, [?TAB])),
            Last = lists:last(Callbacks),
            Callback =/= Last orelse
                wait_until(fun() -> call(B, ferrets, member, [?TAB, {seen, node(A)}]) end),
            [ok = call(Peer, ferrets, stop, [?TAB]) || Peer <- [B, C]]
        end
     || Callback <- Callbacks
    ].

a_server_that_was_never_linked_is_not_named(Config) ->
    [A | _] = cluster(Config),
    call(A, fun() ->
        Collector = start_collector(),
        {ok, Server} = ferrets:start(?TAB, #{handle_down => fun ?MODULE:tell_collector/1}),
        {Stranger, Monitor} = spawn_monitor(fun() -> Server ! {ferrets_link, self(), <<>>, <<>>} end),
        receive {'DOWN', Monitor, process, Stranger, _} -> ok end,
        pong = ferrets:ping(?TAB),
        pong = ferrets:ping(?TAB),
        ?assertEqual([], collected(?TAB)),
        ?assertMatch(#{node_down_history := []}, ferrets:info(?TAB)),
        exit(Collector, kill)
    end).

a_writer_is_told_when_its_server_dies(Config) ->
    [A, B, C] = Peers = cluster(Config),
    [Server | _] = start_joined(Peers, ?TAB),
    ok = call(A, sys, suspend, [?TAB]),
    Writers = [
        ferrets_test_cluster:spawn(Peer, fun() -> catch ferrets:insert(Name, {a}) end)
     || {Peer, Name} <- [{A, ?TAB}, {A, Server}, {C, Server}]
    ],
    wait_until(fun() -> call(A, ferrets, member, [?TAB, a]) end),
    Request = ferrets_test_cluster:spawn(A, fun() ->
        ferrets:wait_response(ferrets:insert_request(?TAB, {b}), infinity)
    end),
    wait_until(fun() -> call(A, ferrets, member, [?TAB, b]) end),
    wait_until(fun() -> length(monitors(A, Server)) >= 4 end),
    true = call(A, erlang, exit, [Server, kill]),
    [?assertMatch({'EXIT', {killed, {gen_server, call, _}}}, Await()) || Await <- Writers],
    ?assertMatch({error, {killed, Server}}, Request()),
    wait_until(fun() -> call(B, ferrets, other_nodes, [?TAB]) =:= [node(C)] end).

a_writer_is_told_even_if_the_witness_has_been_killed(Config) ->
    [A | _] = Peers = cluster(Config),
    [Server | _] = start_joined(Peers, ?TAB),
    [Witness] = witnesses(A, Server),
    true = call(A, erlang, exit, [Witness, kill]),
    wait_until(fun() -> witnesses(A, Server) -- [Witness] =/= [] end),
    ok = call(A, sys, suspend, [?TAB]),
    Await = ferrets_test_cluster:spawn(A, fun() -> catch ferrets:insert(?TAB, {a}) end),
    wait_until(fun() -> call(A, ferrets, member, [?TAB, a]) end),
    [Other] = witnesses(A, Server),
    true = call(A, erlang, exit, [Server, kill]),
    ?assertMatch({'EXIT', {killed, {gen_server, call, _}}}, Await()),
    %% Nothing stays behind.
    wait_until(fun() -> not call(A, erlang, is_process_alive, [Other]) end).

witnesses(Peer, Server) ->
    call(Peer, fun() ->
        {monitored_by, Pids} = process_info(Server, monitored_by),
        [Pid || Pid <- Pids, is_pid(Pid), erlang:node(Pid) =:= erlang:node(), proc_lib:translate_initial_call(Pid) =:= {ferrets_witness, init, 1}]
    end).

monitors(Peer, Server) ->
    {monitored_by, Pids} = call(Peer, erlang, process_info, [Server, monitored_by]),
    %% The peers' servers, and the library itself, are not writers.
    [Pid || Pid <- Pids, is_pid(Pid), call(Peer, fun() -> erlang:node(Pid) =:= erlang:node() end)] ++
        [Pid || Pid <- Pids, is_pid(Pid), erlang:node(Pid) =/= node(Peer)].

a_killed_node_under_load_loses_no_acknowledged_write(_Config) ->
    with_cluster(3, fun([A, B, C] = Peers) ->
        start_joined(Peers, ?TAB),
        Writers = [
            ferrets_test_cluster:spawn(Peer, fun() -> write_until_told(?TAB, 20) end)
         || Peer <- [A, B]
        ],
        Doomed = ferrets_test_cluster:spawn(C, fun() -> write_until_told(?TAB, 20) end),
        wait_until(fun() -> call(A, ferrets, size, [?TAB]) > 5000 end),
        ferrets_test_cluster:kill(C),
        wait_until(fun() -> call(A, ferrets, other_nodes, [?TAB]) =:= [node(B)] end),
        wait_until(fun() -> call(B, ferrets, other_nodes, [?TAB]) =:= [node(A)] end),
        Size = call(A, ferrets, size, [?TAB]),
        wait_until(fun() -> call(A, ferrets, size, [?TAB]) > Size + 1000 end),
        [call(Peer, fun() -> [exit(Pid, enough) || Pid <- stoppers()] end) || Peer <- [A, B]],
        Acknowledged = lists:append([Await() || Await <- Writers]),
        ct:pal("~p acknowledged writes", [length(Acknowledged)]),
        [ok = call(Peer, ferrets, ping_all, [?TAB]) || Peer <- [A, B]],
        [Dump, Dump] = dumps([A, B], ?TAB),
        ?assertEqual([], Acknowledged -- [Key || {Key} <- Dump]),
        ?assertError(_, Doomed())
    end).

%% Many writers at once; answers with the keys whose writes returned, when somebody ends the process named `stopper'.
write_until_told(Tab, Count) ->
    Stopper = spawn(fun() -> receive never -> ok end end),
    register(stopper, Stopper),
    Self = self(),
    Pids = [spawn_link(fun() -> write_on(Tab, Self, Stopper, I, 1) end) || I <- lists:seq(1, Count)],
    lists:append([receive {Pid, Keys} -> Keys end || Pid <- Pids]).

stoppers() ->
    [Pid || Pid <- [whereis(stopper)], is_pid(Pid)].

write_on(Tab, Parent, Stopper, I, N) ->
    case is_process_alive(Stopper) of
        true ->
            ok = ferrets:insert(Tab, {{erlang:node(), I, N}}),
            write_on(Tab, Parent, Stopper, I, N + 1);
        false ->
            Parent ! {self(), [{erlang:node(), I, Before} || Before <- lists:seq(1, N - 1)]}
    end.

a_killed_node_comes_back_empty_and_is_filled(_Config) ->
    with_cluster(2, fun([A, B] = Peers) ->
        start_joined(Peers, ?TAB),
        ok = call(A, fun() -> ferrets:insert_many(?TAB, [{N} || N <- lists:seq(1, 5000)]) end),
        ok = call(B, ferrets, stop, [?TAB]),
        wait_until(fun() -> call(A, ferrets, other_nodes, [?TAB]) =:= [] end),
        ok = call(A, ferrets, delete, [?TAB, 1]),
        ok = call(A, ferrets, insert, [?TAB, {5001}]),
        ferrets_test_cluster:start_table([B], ?TAB),
        ?assertEqual(0, call(B, ferrets, size, [?TAB])),
        ok = ferrets_test_cluster:join(?TAB, B, A),
        [Dump, Dump] = dumps(Peers, ?TAB),
        ?assertEqual([{N} || N <- lists:seq(2, 5001)], Dump)
    end).

%% ---------------------------------------------------------------- cuts and heals

a_cut_leaves_both_sides_working_and_heals_to_one(_Config) ->
    %% `global' would separate the other two as well.
    with_cluster(3, ["-kernel", "prevent_overlapping_partitions", "false"], fun([A, B, C] = Peers) ->
        start_joined(Peers, ?TAB),
        ok = call(A, ferrets, insert_many, [?TAB, [{both, old}, {a, old}, {c, old}]]),
        ferrets_test_cluster:cut([A], [B, C]),
        wait_until(fun() -> call(A, ferrets, other_nodes, [?TAB]) =:= [] end),
        wait_until(fun() -> call(B, ferrets, other_nodes, [?TAB]) =:= [node(C)] end),
        wait_until(fun() -> call(C, ferrets, other_nodes, [?TAB]) =:= [node(B)] end),
        ok = call(A, ferrets, insert_many, [?TAB, [{both, first}, {a, new}, {only_a}]]),
        ok = call(C, ferrets, insert_many, [?TAB, [{both, second}, {c, new}, {only_c}]]),
        ?assertEqual([{a, old}], call(B, ferrets, lookup, [?TAB, a])),
        ?assertEqual([{c, new}], call(B, ferrets, lookup, [?TAB, c])),
        ferrets_test_cluster:heal([A], [B, C]),
        ok = ferrets_test_cluster:join(?TAB, A, B),
        [Dump, Dump, Dump] = dumps(Peers, ?TAB),
        ?assertEqual([{a, new}, {both, second}, {c, new}, {only_a}, {only_c}], Dump),
        ok = call(A, ferrets, insert, [?TAB, {whole}]),
        ?assert(call(C, ferrets, member, [?TAB, whole]))
    end).

a_cut_that_global_widens_heals_to_one(_Config) ->
    with_cluster(3, ["-kernel", "prevent_overlapping_partitions", "true"], fun([A, B, C] = Peers) ->
        start_joined(Peers, ?TAB),
        ferrets_test_cluster:cut([A], [B, C]),
        wait_until(fun() -> call(A, ferrets, other_nodes, [?TAB]) =:= [] end),
        [ok = call(Peer, ferrets, insert_many, [?TAB, [{both, node(Peer)}, {node(Peer)}]]) || Peer <- Peers],
        ferrets_test_cluster:heal(Peers, Peers),
        [join_again(?TAB, X, Y) || {X, Y} <- [{A, B}, {B, C}]],
        [Dump, Dump, Dump] = dumps(Peers, ?TAB),
        ?assertEqual(lists:sort([both | [node(Peer) || Peer <- Peers]]), [element(1, Record) || Record <- Dump])
    end).

%% The end of the old link comes before the beginning of the new one, whatever the server has to do meanwhile.
a_peer_that_was_away_while_its_peer_was_busy_is_linked_again(_Config) ->
    with_cluster(2, fun([A, B] = Peers) ->
        [Server, _] = start_joined(Peers, ?TAB, #{stall_timeout => 60_000}),
        ok = call(A, sys, suspend, [Server]),
        %% So many that they are merged in several slices.
        Written = ferrets_test_cluster:spawn(B, fun() -> ferrets:insert_many(?TAB, [{N} || N <- lists:seq(1, 5000)]) end),
        wait_until(fun() -> mailbox(A, Server) =/= [] end),
        ferrets_test_cluster:cut([A], [B]),
        ferrets_test_cluster:heal([A], [B]),
        ?assertEqual(ok, Written()),
        _ = call(B, fun() -> ferrets_request:send(whereis(?TAB), {link, Server}) end),
        wait_until(fun() -> lists:suffix(['DOWN', ferrets_link], mailbox(A, Server)) end),
        ok = call(A, sys, resume, [Server]),
        wait_until(fun() -> [call(Peer, ferrets, other_nodes, [?TAB]) || Peer <- Peers] =:= [[node(B)], [node(A)]] end),
        ok = call(B, ferrets, insert, [?TAB, {0}]),
        Expected = [{N} || N <- lists:seq(0, 5000)],
        wait_until(fun() -> dumps(Peers, ?TAB) =:= [Expected, Expected] end)
    end).

mailbox(Peer, Server) ->
    {messages, Messages} = call(Peer, erlang, process_info, [Server, messages]),
    [element(1, Message) || Message <- Messages].

%% The two that were not cut apart on purpose may or may not have lost each other.
join_again(Tab, A, B) ->
    case ferrets_test_cluster:join(Tab, A, B) of
        ok -> ok;
        {error, already_joined} -> ok
    end.

a_delete_made_during_a_cut_survives_the_heal(_Config) ->
    with_cluster(2, fun([A, B] = Peers) ->
        start_joined(Peers, ?TAB),
        ok = call(A, ferrets, insert_many, [?TAB, [{deleted}, {kept}, {deleted_then_written}]]),
        ferrets_test_cluster:cut([A], [B]),
        wait_until(fun() -> [call(Peer, ferrets, other_nodes, [?TAB]) || Peer <- Peers] =:= [[], []] end),
        ok = call(A, ferrets, delete_many, [?TAB, [deleted, deleted_then_written]]),
        ok = call(B, ferrets, insert, [?TAB, {deleted_then_written, again}]),
        ferrets_test_cluster:heal([A], [B]),
        ok = ferrets_test_cluster:join(?TAB, A, B),
        Expected = [{deleted_then_written, again}, {kept}],
        ?assertEqual([Expected, Expected], dumps(Peers, ?TAB))
    end).

with_cluster(Count, Test) ->
    with_cluster(Count, [], Test).

with_cluster(Count, Arguments, Test) ->
    Peers = ferrets_test_cluster:start(Count, Arguments),
    try
        Test(Peers)
    after
        ferrets_test_cluster:stop(Peers)
    end.
