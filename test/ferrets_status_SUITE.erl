%%% What a cluster says of itself: status, metrics, Prometheus' format, telemetry and logs; and the blocker of connections.
-module(ferrets_status_SUITE).

-include_lib("stdlib/include/assert.hrl").

-compile(export_all).

-define(TAB, ?FUNCTION_NAME).

-import(ferrets_test_cluster, [call/2, call/4, node/1, server/2, start_table/2, start_table/3, wait_until/1]).
-import(ferrets_test_disco, [with_nodes/2, with_nodes/3, start/3, start_disco/2, path/1, write_file/2]).
-import(ferrets_test_disco, [await_mesh/2, await_ready/1]).

-compile({no_auto_import, [node/1]}).

all() ->
    [
        status_of_a_whole_cluster_names_every_node_once,
        status_names_what_is_missing_and_unknown,
        status_during_a_split_is_that_of_the_own_side,
        a_silent_node_is_unavailable,
        a_joining_cluster_has_conflicts_until_it_is_whole,
        metrics_are_numbers_of_a_table_or_of_discovery,
        prometheus_reads_what_is_written,
        syncs_links_and_losses_are_logged_once_with_their_numbers,
        conflicts_are_logged_as_sums,
        a_stalled_peer_is_named,
        telemetry_gets_events_where_it_is,
        the_blocker_keeps_a_node_out_until_all_have_cleaned,
        the_blocker_takes_a_confirmation_that_comes_first,
        the_blocker_puts_cookies_back
    ].

status(Peer) ->
    call(Peer, ferrets_status, status, [disco]).

await_status(Peer, Wanted) ->
    wait_until(fun() -> maps:with(maps:keys(Wanted), status(Peer)) =:= Wanted end).

names(Peers) ->
    lists:sort([node(Peer) || Peer <- Peers]).

%% ---------------------------------------------------------------- status

status_of_a_whole_cluster_names_every_node_once(Config) ->
    Path = path(Config),
    with_nodes(3, fun(Peers) ->
        Nodes = names(Peers),
        write_file(Path, Peers),
        start(Peers, [?TAB, other], #{disco_file => Path}),
        await_ready(Peers),
        [await_mesh(Peers, Tab) || Tab <- [?TAB, other]],
        [
            ?assertEqual(
                #{
                    available_nodes => Nodes,
                    unavailable_nodes => [],
                    joined_nodes => Nodes,
                    discovered_nodes => Nodes,
                    discovery_works => true,
                    remote_nodes_without_disco => [],
                    remote_unknown_tables => [],
                    remote_nodes_with_unknown_tables => [],
                    remote_missing_tables => [],
                    remote_nodes_with_missing_tables => [],
                    conflict_tables => [],
                    conflict_nodes => []
                },
                status(Peer)
            )
         || Peer <- Peers
        ]
    end).

status_names_what_is_missing_and_unknown(Config) ->
    Path = path(Config),
    with_nodes(4, fun([A, B, Poor, Bare] = Peers) ->
        write_file(Path, Peers),
        start([A], [?TAB, mine], #{disco_file => Path}),
        start([B], [?TAB, mine, theirs], #{disco_file => Path}),
        start([Poor], [?TAB], #{disco_file => Path}),
        %% Known to discovery there, but not running, counts as missing.
        ok = call(Poor, ferrets_discovery, add_table, [disco, mine]),
        await_ready([A]),
        await_status(A, #{
            available_nodes => names([A, B, Poor]),
            unavailable_nodes => [],
            joined_nodes => names([A, B]),
            discovered_nodes => names(Peers),
            discovery_works => true,
            remote_nodes_without_disco => [node(Bare)],
            remote_unknown_tables => [theirs],
            remote_nodes_with_unknown_tables => [node(B)],
            remote_missing_tables => [mine],
            remote_nodes_with_missing_tables => [node(Poor)],
            conflict_tables => [],
            conflict_nodes => []
        }),
        await_status(Poor, #{remote_missing_tables => [], remote_unknown_tables => [theirs]}),
        %% A table of ours that ends is linked with nobody, and is everybody's conflict.
        ok = call(A, ferrets, stop, [mine]),
        await_status(A, #{conflict_tables => [mine], conflict_nodes => [node(B)], joined_nodes => [node(A)]}),
        ok = file:delete(Path),
        await_status(A, #{discovery_works => false, discovered_nodes => names(Peers)}),
        ?assertExit({noproc, _}, call(A, fun() -> ferrets_status:status(nobody) end))
    end).

status_during_a_split_is_that_of_the_own_side(Config) ->
    Path = path(Config),
    with_nodes(3, ["-kernel", "prevent_overlapping_partitions", "false"], fun([A, B, C] = Peers) ->
        write_file(Path, Peers),
        start(Peers, [?TAB], #{disco_file => Path}),
        await_ready(Peers),
        await_mesh(Peers, ?TAB),
        ferrets_test_cluster:cut([A], [B, C]),
        await_status(A, #{
            available_nodes => [node(A)],
            unavailable_nodes => names([B, C]),
            joined_nodes => [node(A)],
            discovered_nodes => names(Peers),
            conflict_nodes => [],
            remote_nodes_without_disco => []
        }),
        await_status(B, #{
            available_nodes => names([B, C]),
            unavailable_nodes => [node(A)],
            joined_nodes => names([B, C]),
            conflict_nodes => []
        }),
        ferrets_test_cluster:heal([A], [B, C]),
        [await_status(Peer, #{joined_nodes => names(Peers), unavailable_nodes => []}) || Peer <- Peers]
    end).

a_silent_node_is_unavailable(Config) ->
    Path = path(Config),
    with_nodes(2, fun([A, B] = Peers) ->
        write_file(Path, Peers),
        start(Peers, [?TAB], #{disco_file => Path}),
        await_ready(Peers),
        await_mesh(Peers, ?TAB),
        ferrets_test_cluster:freeze(B),
        Silent = node(B),
        ?assertMatch(#{joined_nodes := [_], available_nodes := [_], unavailable_nodes := [Silent]}, status(A)),
        ferrets_test_cluster:thaw(B),
        await_status(A, #{joined_nodes => names(Peers), unavailable_nodes => []})
    end).

a_joining_cluster_has_conflicts_until_it_is_whole(Config) ->
    Path = path(Config),
    with_nodes(3, fun([A, B, C] = Peers) ->
        write_file(Path, Peers),
        start([A, B], [?TAB], #{disco_file => Path}),
        await_ready([A, B]),
        await_mesh([A, B], ?TAB),
        %% It has the table, and discovery that knows of it, but of nobody else.
        start_table([C], ?TAB),
        start_disco(C, #{tables => [?TAB], backend_module => ferrets_discovery_fun, get_nodes_fn => fun(S) -> {{ok, []}, S} end}),
        [await_status(Peer, #{joined_nodes => names(Peers), conflict_nodes => []}) || Peer <- Peers],
        %% Discovery off, so that nobody repairs it.
        [ok = call(Peer, ferrets_discovery, delete_table, [disco, ?TAB]) || Peer <- [A, B]],
        ok = call(C, ferrets, stop, [?TAB]),
        start_table([C], ?TAB),
        await_status(C, #{
            remote_unknown_tables => [], remote_missing_tables => [?TAB], remote_nodes_with_missing_tables => names([A, B])
        }),
        [ok = call(Peer, gen_server, stop, [disco]) || Peer <- [A, B]],
        [
            start_disco(Peer, #{tables => [?TAB], backend_module => ferrets_discovery_fun, get_nodes_fn => fun(S) -> {{ok, []}, S} end})
         || Peer <- [A, B]
        ],
        await_status(C, #{conflict_tables => [?TAB], conflict_nodes => names([A, B]), joined_nodes => [node(C)]}),
        await_status(A, #{conflict_tables => [?TAB], conflict_nodes => [node(C)], joined_nodes => names([A, B])})
    end).

%% ---------------------------------------------------------------- metrics

metrics_are_numbers_of_a_table_or_of_discovery(Config) ->
    Path = path(Config),
    with_nodes(2, fun([A, B] = Peers) ->
        write_file(Path, Peers),
        start(Peers, [?TAB], #{disco_file => Path}),
        await_ready(Peers),
        await_mesh(Peers, ?TAB),
        ok = call(A, fun() -> ferrets:insert_many(?TAB, [{N} || N <- lists:seq(1, 1000)]) end),
        Table = call(A, ferrets_status, metrics, [?TAB]),
        ?assertEqual([], [Number || Number <- maps:values(Table), not is_number(Number)]),
        ?assertMatch(
            #{
                size := 1000, memory := _, memory_bytes := _, tombstones := 0, unacknowledged := 0, batches := _, syncs := 1,
                links_up := 1, links_down := 0, conflicts_asked := 0, peers_synced := 1, peers_syncing := 0
            },
            Table
        ),
        ?assert(maps:get(bytes_sent, Table) > 4000),
        wait_until(fun() ->
            #{messages_sent := Sent, bytes_sent := BytesSent} = call(A, ferrets_status, metrics, [?TAB]),
            #{messages_received := Received, bytes_received := BytesReceived} = call(B, ferrets_status, metrics, [?TAB]),
            {Sent, BytesSent} =:= {Received, BytesReceived}
        end),
        ?assert(is_integer(maps:get({lag_ms, node(B)}, Table))),
        ?assertEqual(1, lists:sum([maps:get(is_leader, call(Peer, ferrets_status, metrics, [?TAB])) || Peer <- Peers])),
        ?assertMatch(
            #{
                nodes_discovered := 2, nodes_connected := 2, nodes_unavailable := 0, nodes_joined := 2, ready := 1,
                backend_works := 1, tables := 1, tables_running := 1
            },
            call(A, ferrets_status, metrics, [disco])
        ),
        ferrets_test_cluster:kill(B),
        wait_until(fun() -> maps:get(nodes_unavailable, call(A, ferrets_status, metrics, [disco])) =:= 1 end),
        ?assertMatch(#{nodes_joined := 1, nodes_connected := 1}, call(A, ferrets_status, metrics, [disco])),
        ?assertMatch(#{servers_down := 1, peers := 0}, call(A, ferrets_status, metrics, [?TAB])),
        ?assertExit({noproc, _}, call(A, fun() -> ferrets_status:metrics(nobody) end)),
        ?assertExit({noproc, _}, call(A, fun() -> ferrets_status:metrics(kernel_sup) end))
    end).

prometheus_reads_what_is_written(_Config) ->
    Odd = 'odd "name"\\',
    {ok, _} = ferrets:start(Odd, #{}),
    {ok, _} = ferrets:start(?TAB, #{}),
    {ok, _} = ferrets_discovery:start(#{name => disco, tables => [?TAB, Odd], backend_module => ferrets_discovery_nodes}),
    try
        ok = ferrets:insert(?TAB, {1}),
        Lines = string:split(string:trim(unicode:characters_to_binary(ferrets_status:prometheus(disco))), "\n", all),
        [
            ?assertMatch(
                {match, _},
                re:run(Line, "^(# TYPE ferrets_[a-z_]+ (gauge|counter)|ferrets_[a-z_]+\\{[a-z]+=\"([^\"\\\\]|\\\\.)*\"\\} -?[0-9.e+-]+)$")
            )
         || Line <- Lines
        ],
        ?assert(lists:member(<<"ferrets_size{table=\"prometheus_reads_what_is_written\"} 1">>, Lines)),
        ?assert(lists:member(<<"ferrets_size{table=\"odd \\\"name\\\"\\\\\"} 0">>, Lines)),
        ?assert(lists:member(<<"# TYPE ferrets_syncs_total counter">>, Lines)),
        ?assert(lists:member(<<"ferrets_discovery_nodes_joined{discovery=\"disco\"} 1">>, Lines)),
        %% One type for each name, in front of all of its samples.
        Types = [Line || <<"# TYPE ", _/binary>> = Line <- Lines],
        ?assertEqual(length(Types), length(lists:usort(Types))),
        Alone = iolist_to_binary(ferrets_status:prometheus(?TAB)),
        ?assertEqual(nomatch, binary:match(Alone, <<"odd">>))
    after
        gen_server:stop(disco),
        [ferrets:stop(Tab) || Tab <- [?TAB, Odd]]
    end.

%% ---------------------------------------------------------------- logs and events

logged(Peer, What) ->
    call(Peer, ferrets_test_log, reports, [What]).

syncs_links_and_losses_are_logged_once_with_their_numbers(_Config) ->
    with_nodes(2, fun([A, B] = Peers) ->
        start_table(Peers, ?TAB),
        ok = call(B, fun() -> ferrets:insert_many(?TAB, [{N, <<0:800>>} || N <- lists:seq(1, 1000)]) end),
        ok = ferrets_test_cluster:join(?TAB, A, B),
        {Remote, RemoteNode} = {server(B, ?TAB), node(B)},
        ?assertMatch(
            [#{level := info, table := ?TAB, remote_pid := Remote, remote_node := RemoteNode, records := 0}],
            logged(A, ferrets_link_up)
        ),
        [#{records_before := 0, records := 1000, time_ms := _, bytes_received := Received}] = logged(A, ferrets_synced),
        ?assert(Received > 100_000),
        Before = length(call(A, ferrets_test_log, whats, [])),
        %% Nothing per operation.
        ok = call(A, fun() -> [ok = ferrets:insert(?TAB, {N}) || N <- lists:seq(1, 200)], ok end),
        ?assertEqual(Before, length(call(A, ferrets_test_log, whats, []))),
        ok = call(B, ferrets, stop, [?TAB]),
        wait_until(fun() -> logged(A, ferrets_server_down) =/= [] end),
        ?assertMatch(
            [#{level := warning, table := ?TAB, remote_pid := Remote, reason := normal}], logged(A, ferrets_server_down)
        ),
        start_table([B], ?TAB, #{type => set}),
        {error, _} = ferrets_test_cluster:join(?TAB, A, B),
        ?assertMatch([#{level := error, reason := _, table := ?TAB}], logged(A, ferrets_link_refused))
    end).

conflicts_are_logged_as_sums(_Config) ->
    with_nodes(2, fun([A, B] = Peers) ->
        start_table(Peers, ?TAB, #{handle_conflict => fun erlang:max/2}),
        [
            ok = call(Peer, ferrets, insert_many, [?TAB, [{N, node(Peer)} || N <- lists:seq(1, 100)]])
         || Peer <- Peers
        ],
        ok = ferrets_test_cluster:join(?TAB, A, B),
        Sums = fun() -> [Count || Peer <- Peers, #{count := Count} <- logged(Peer, ferrets_conflicts)] end,
        wait_until(fun() -> lists:sum(Sums()) =:= 100 end),
        ?assert(length(Sums()) < 10)
    end).

a_stalled_peer_is_named(_Config) ->
    with_nodes(2, fun([A, B] = Peers) ->
        start_table(Peers, ?TAB, #{stall_timeout => 500}),
        ok = ferrets_test_cluster:join(?TAB, A, B),
        ok = call(B, sys, suspend, [?TAB]),
        ok = call(A, ferrets, insert, [?TAB, {1}]),
        Stalled = node(B),
        ?assertMatch([#{remote_node := Stalled, level := warning} | _], logged(A, ferrets_peer_stalled)),
        ok = call(B, sys, resume, [?TAB]),
        await_mesh(Peers, ?TAB),
        ?assertMatch(#{stalls := Stalls} when Stalls > 0, call(A, ferrets_status, metrics, [?TAB]))
    end).

telemetry_gets_events_where_it_is(_Config) ->
    with_nodes(2, fun([A, B] = Peers) ->
        %% All of the library that Ferrets knows of.
        Source = "-module(telemetry). -export([execute/3]).\n"
            "execute(Name, Numbers, Evidence) -> ferrets_test_log ! {keep, #{what => Name, numbers => Numbers, evidence => Evidence}}.\n",
        call(A, fun() ->
            {ok, Module, Code} = compile:forms([
                begin
                    {ok, Tokens, _} = erl_scan:string(Form ++ "."),
                    {ok, Parsed} = erl_parse:parse_form(Tokens),
                    Parsed
                end
             || Form <- string:lexemes(string:replace(Source, ".\n", ".", all), "."), string:trim(Form) =/= ""
            ]),
            {module, Module} = code:load_binary(Module, "telemetry.erl", Code)
        end),
        start_table(Peers, ?TAB),
        ok = ferrets_test_cluster:join(?TAB, A, B),
        Remote = node(B),
        [
            wait_until(fun() ->
                case logged(A, Name) of
                    [#{numbers := #{system_time := _}, evidence := #{table := ?TAB, remote_node := Remote}}] -> true;
                    _ -> false
                end
            end)
         || Name <- [[ferrets, link, up], [ferrets, sync, done]]
        ],
        %% Where there is none nothing is missing.
        ?assertEqual([], call(B, ferrets_test_log, reports, [[ferrets, link, up]]))
    end).

%% ---------------------------------------------------------------- the blocker of connections

start_blocker(Peer, Cleaners) ->
    call(Peer, fun() ->
        {ok, Blocker} = ferrets_dist_blocker:start_link(),
        unlink(Blocker),
        [
            begin
                Cleaner = spawn(fun() -> receive stop -> ok end end),
                ok = ferrets_dist_blocker:add_cleaner(Cleaner),
                ok = ferrets_dist_blocker:add_cleaner(Cleaner),
                Cleaner
            end
         || _ <- lists:seq(1, Cleaners)
        ]
    end).

is_connected(A, B) ->
    call(A, net_adm, ping, [node(B)]) =:= pong.

is_blocked(A, B) ->
    call(A, ferrets_dist_blocker, is_blocked, [node(B)]).

lose(A, B) ->
    call(B, erlang, disconnect_node, [node(A)]).

the_blocker_keeps_a_node_out_until_all_have_cleaned(_Config) ->
    with_nodes(2, fun([A, B]) ->
        %% Connected before or after the blocker starts, that is all one.
        true = is_connected(A, B),
        [First, Second, Third] = start_blocker(A, 3),
        ?assertNot(is_blocked(A, B)),
        [
            begin
                lose(A, B),
                wait_until(fun() -> is_blocked(A, B) end),
                ?assertNot(is_connected(B, A)),
                ?assertNot(is_connected(A, B)),
                ?assertEqual({pang, blocked}, call(A, ferrets_ping, ping, [node(B), [], 1000])),
                [ok = call(A, ferrets_dist_blocker, cleaning_done, [Cleaner, node(B)]) || Cleaner <- Confirming],
                ?assertNot(is_connected(B, A)),
                Last(),
                wait_until(fun() -> is_connected(B, A) end)
            end
         || {Confirming, Last} <- [
                {[First, Second], fun() -> ok = call(A, ferrets_dist_blocker, cleaning_done, [Third, node(B)]) end},
                {[Second, Third], fun() -> call(A, erlang, exit, [First, kill]) end},
                {[Second], fun() -> call(A, erlang, exit, [Third, kill]) end}
            ]
        ],
        ?assertEqual(3, call(A, ferrets_test_log, count, [ferrets_node_blocked])),
        ?assertEqual(3, call(A, ferrets_test_log, count, [ferrets_node_unblocked])),
        %% Nobody left who cleans.
        call(A, erlang, exit, [Second, kill]),
        lose(A, B),
        wait_until(fun() -> is_connected(B, A) end)
    end).

the_blocker_takes_a_confirmation_that_comes_first(_Config) ->
    with_nodes(2, fun([A, B]) ->
        true = is_connected(A, B),
        [Cleaner] = start_blocker(A, 1),
        %% While the node is there it is about nothing.
        ok = call(A, ferrets_dist_blocker, cleaning_done, [Cleaner, node(B)]),
        lose(A, B),
        wait_until(fun() -> is_blocked(A, B) end),
        ?assertNot(is_connected(B, A)),
        ok = call(A, ferrets_dist_blocker, cleaning_done, [Cleaner, node(B)]),
        wait_until(fun() -> is_connected(B, A) end),
        %% Its question arrives before the blocker's `nodedown'.
        ok = call(A, fun() ->
            Blocker = whereis(ferrets_dist_blocker),
            true = erlang:suspend_process(Blocker),
            Request = gen_server:send_request(Blocker, {cleaning_done, Cleaner, node(B)}),
            ok = net_kernel:monitor_nodes(true),
            true = erlang:disconnect_node(node(B)),
            receive {nodedown, _} -> ok end,
            true = erlang:resume_process(Blocker),
            {reply, ok} = gen_server:wait_response(Request, 5000),
            ok
        end),
        wait_until(fun() -> is_connected(B, A) end)
    end).

the_blocker_puts_cookies_back(_Config) ->
    with_nodes(2, fun([A, B]) ->
        true = is_connected(A, B),
        [_] = start_blocker(A, 1),
        lose(A, B),
        wait_until(fun() -> is_blocked(A, B) end),
        %% Killed, it leaves the node blocked; its next life lets it in.
        call(A, fun() -> exit(whereis(ferrets_dist_blocker), kill) end),
        ?assertNot(is_connected(B, A)),
        [_] = start_blocker(A, 1),
        wait_until(fun() -> is_connected(B, A) end),
        lose(A, B),
        wait_until(fun() -> is_blocked(A, B) end),
        ok = call(A, gen_server, stop, [ferrets_dist_blocker]),
        wait_until(fun() -> is_connected(B, A) end),
        ?assertEqual(call(A, erlang, get_cookie, []), call(A, erlang, get_cookie, [node(B)]))
    end).
