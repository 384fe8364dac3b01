%%% Five nodes on five hosts of a network that loses packets: what they do while it does, what they say about it, and that
%%% they are whole again afterwards, by discovery alone.
%%%
%%% It needs root, iproute2 and iptables, and makes network namespaces of its own; elsewhere it is skipped.
-module(ferrets_netsplit_SUITE).

-include_lib("stdlib/include/assert.hrl").

-compile(export_all).

-define(TAB, ?FUNCTION_NAME).
-define(HOSTS, 5).
%% For how long the link flaps, unless the environment says otherwise: FERRETS_FLAP_MS.
-define(FLAP_MS, "20000").

-import(ferrets_test_cluster, [call/2, call/4, dumps/2, node/1, server/2, wait_until/1]).
-import(ferrets_test_disco, [start/3, path/1, write_file/2, is_meshed/2, await_mesh/2, await_ready/1, system_info/1]).

-compile({no_auto_import, [node/1]}).

all() ->
    [
        a_dead_host_holds_up_nobody,
        two_against_three_heal_to_five,
        a_node_that_one_peer_cannot_reach_is_not_connected,
        a_one_way_partition_heals,
        a_flapping_link_ends_whole,
        addresses_from_dns_are_nodes_on_their_hosts
    ].

init_per_suite(Config) ->
    case ferrets_test_net:lack() of
        none -> [{net, ferrets_test_net:start(?HOSTS)} | Config];
        Lack -> {skip, lists:flatten(Lack)}
    end.

end_per_suite(Config) ->
    ferrets_test_net:stop(net(Config)).

net(Config) ->
    proplists:get_value(net, Config).

%% Nodes that take 3 seconds of silence for a loss, not a minute, with the kernel's other settings as they come.
with_hosts(Config, Test) ->
    ferrets_test_net:heal(net(Config)),
    Peers = ferrets_test_cluster:start_at(
        ferrets_test_net:host_options(net(Config)),
        ["+sbwt", "none", "-kernel", "net_ticktime", "3", "-kernel", "net_setuptime", "4"]
    ),
    try
        [ok = call(Peer, ferrets_test_log, start, []) || Peer <- Peers],
        Test(Peers)
    after
        ferrets_test_cluster:stop(Peers),
        ferrets_test_net:heal(net(Config))
    end.

with_tables(Config, Tab, Test) ->
    Path = path(Config),
    with_hosts(Config, fun(Peers) ->
        write_file(Path, Peers),
        start(Peers, [Tab], #{disco_file => Path, retry_intervals => intervals()}),
        await_ready(Peers),
        await_mesh(Peers, Tab),
        Test(Peers)
    end).

intervals() ->
    #{initial => 500, after_error => 500, after_nodedown => 500, regular => 500}.

status(Peer) ->
    call(Peer, ferrets_status, status, [disco]).

names(Peers) ->
    lists:sort([node(Peer) || Peer <- Peers]).

whats(Peer) ->
    lists:usort(call(Peer, ferrets_test_log, whats, [])).

%% ---------------------------------------------------------------- hosts that are silent

a_dead_host_holds_up_nobody(Config) ->
    Path = path(Config),
    with_hosts(Config, fun([A, B, C, _, Dead] = Peers) ->
        ferrets_test_net:cut(both, [{N, 5} || N <- lists:seq(1, 4)], net(Config)),
        write_file(Path, Peers),
        start([A, B, C], [?TAB], #{disco_file => Path, ping_timeout => 2_000, retry_intervals => intervals()}),
        await_mesh([A, B, C], ?TAB),
        ?assertMatch(#{verify_ready := [{still_waiting_for_pangs, _} | _]}, system_info(A)),
        ?assertEqual({ok, [?TAB]}, call(A, ferrets_discovery, get_tables, [disco])),
        await_ready([A, B, C]),
        Silent = node(Dead),
        ?assertMatch(#{unavailable_reasons := #{Silent := no_answer}}, system_info(A))
    end).

%% ---------------------------------------------------------------- partitions

two_against_three_heal_to_five(Config) ->
    with_tables(Config, ?TAB, fun([A, B, C, D, E] = Peers) ->
        ok = call(A, ferrets, insert_many, [?TAB, [{deleted}, {changed, before}]]),
        Both = [{X, Y} || X <- [1, 2], Y <- [3, 4, 5]],
        ferrets_test_net:cut(both, Both, net(Config)),
        %% Who waits for silent peers is told when they are lost, and not before.
        ok = call(B, ferrets, insert, [?TAB, {here}]),
        ok = call(D, ferrets, insert, [?TAB, {there}]),
        [
            wait_until(fun() ->
                Status = status(Peer),
                maps:with([joined_nodes, unavailable_nodes, available_nodes, conflict_nodes], Status) =:=
                    #{
                        joined_nodes => names(Side),
                        available_nodes => names(Side),
                        unavailable_nodes => names(Peers -- Side),
                        conflict_nodes => []
                    }
            end)
         || {Peer, Side} <- [{A, [A, B]}, {B, [A, B]}, {C, [C, D, E]}, {D, [C, D, E]}, {E, [C, D, E]}]
        ],
        [wait_until(fun() -> lists:member(ferrets_node_unreachable, whats(Peer)) end) || Peer <- Peers],
        ok = call(A, ferrets, delete, [?TAB, deleted]),
        ok = call(A, ferrets, insert, [?TAB, {changed, here}]),
        ok = call(E, ferrets, insert, [?TAB, {changed, there}]),
        ferrets_test_net:heal(net(Config)),
        await_mesh(Peers, ?TAB),
        ?assertEqual(lists:duplicate(5, [{changed, there}, {here}, {there}]), dumps(Peers, ?TAB)),
        [wait_until(fun() -> maps:get(joined_nodes, status(Peer)) =:= names(Peers) end) || Peer <- Peers],
        %% Each has told the whole story.
        [
            ?assertEqual(
                [],
                [
                    ferrets_node_down, ferrets_server_down, ferrets_node_unreachable, ferrets_node_up, ferrets_node_returned,
                    ferrets_link_up, ferrets_synced
                ] -- whats(Peer)
            )
         || Peer <- Peers
        ],
        ?assertEqual([], [Peer || Peer <- Peers, lists:member(ferrets_node_restarted, whats(Peer))])
    end).

%% A and B do not reach each other, C reaches both: connecting A would have `global' tear B and C apart.
a_node_that_one_peer_cannot_reach_is_not_connected(Config) ->
    Path = path(Config),
    with_hosts(Config, fun([A, B, C, _, _]) ->
        ferrets_test_net:cut(both, [{1, 2}], net(Config)),
        write_file(Path, [A, B, C]),
        Options = #{disco_file => Path, ping_timeout => 1_000, retry_intervals => intervals()},
        start([B, C], [?TAB], Options),
        await_ready([B, C]),
        await_mesh([B, C], ?TAB),
        %% Only C would connect to it.
        [Blind, Wanted] = [node(B), node(A)],
        wait_until(fun() ->
            case system_info(C) of
                #{unavailable_reasons := #{Wanted := {unreachable_from, [{Blind, no_answer}]}}} -> true;
                #{} -> false
            end
        end),
        ?assertEqual([], call(A, erlang, nodes, [])),
        %% Nor does it connect to C, if it asks first what B sees.
        ?assertEqual(
            {pang, {unreachable_for, [{Blind, no_answer}]}}, call(A, ferrets_ping, ping, [node(C), [Blind], 1_000])
        ),
        ?assertEqual([], call(A, erlang, nodes, [connected])),
        ?assert(is_meshed([B, C], ?TAB)),
        ferrets_test_net:heal(net(Config)),
        start([A], [?TAB], Options),
        await_mesh([A, B, C], ?TAB)
    end).

%% A hears nothing from B, though B hears A.
a_one_way_partition_heals(Config) ->
    with_tables(Config, ?TAB, fun([A, B | _] = Peers) ->
        ferrets_test_net:cut(from, [{1, 2}], net(Config)),
        [ok = call(Peer, ferrets, insert, [?TAB, {node(Peer)}]) || Peer <- Peers],
        wait_until(fun() -> not lists:member(node(B), call(A, erlang, nodes, [])) end),
        ?assertNot(lists:member(node(B), call(A, ferrets, other_nodes, [?TAB]))),
        %% All go on, whoever is linked with whom.
        [ok = call(Peer, ferrets, insert, [?TAB, {{node(Peer), apart}}]) || Peer <- Peers],
        wait_until(fun() -> lists:member(node(B), maps:get(unavailable_nodes, status(A))) end),
        ferrets_test_net:heal(net(Config)),
        await_mesh(Peers, ?TAB),
        [?assertEqual(10, call(Peer, ferrets, size, [?TAB])) || Peer <- Peers],
        ?assert(lists:member(ferrets_node_returned, whats(A)))
    end).

%% Cuts between random hosts, for 4 ms to 5 s each, while all write. What was acknowledged is everywhere in the end.
a_flapping_link_ends_whole(Config) ->
    Seed = erlang:phash2({erlang:unique_integer(), erlang:system_time()}),
    ct:pal("seed ~p", [Seed]),
    rand:seed(exsss, Seed),
    FlapMs = list_to_integer(os:getenv("FERRETS_FLAP_MS", ?FLAP_MS)),
    with_tables(Config, ?TAB, fun(Peers) ->
        Writers = [ferrets_discovery_SUITE:start_writers(Peer, ?TAB, only) || Peer <- Peers],
        Cuts = flap(net(Config), erlang:monotonic_time(millisecond) + FlapMs, 0),
        ferrets_test_net:heal(net(Config)),
        Acknowledged = lists:append([ferrets_discovery_SUITE:stop_writers(Writer) || Writer <- Writers]),
        await_mesh(Peers, ?TAB),
        [Dump | Dumps] = [maps:from_list(Dump) || Dump <- dumps(Peers, ?TAB)],
        [?assertEqual(Dump, Other) || Other <- Dumps],
        Losses = [call(Peer, ferrets_test_log, count, [ferrets_server_down]) || Peer <- Peers],
        ct:pal("~p cuts, ~p writes acknowledged, servers lost per node: ~w", [
            Cuts, lists:sum([N || {_, N} <- Acknowledged]) div 10, Losses
        ]),
        ?assertEqual([], [Row || {Key, N} = Row <- Acknowledged, maps:get(Key, Dump, none) =/= N]),
        %% Every loss was told, and every return.
        [
            ?assert(call(Peer, ferrets_test_log, count, [ferrets_link_up]) >= 4 + Lost)
         || {Peer, Lost} <- lists:zip(Peers, Losses)
        ]
    end).

flap(Net, Deadline, Cuts) ->
    case erlang:monotonic_time(millisecond) < Deadline of
        true ->
            Way = lists:nth(rand:uniform(2), [both, from]),
            {Left, Right} = lists:split(rand:uniform(?HOSTS - 1), shuffle(lists:seq(1, ?HOSTS))),
            Pairs = lists:nth(rand:uniform(2), [[{X, Y} || X <- Left, Y <- Right], [{hd(Left), hd(Right)}]]),
            ferrets_test_net:cut(Way, Pairs, Net),
            pause(4, 5_000),
            ferrets_test_net:heal(Net),
            pause(4, 1_000),
            flap(Net, Deadline, Cuts + 1);
        false ->
            Cuts
    end.

%% As often short as long.
pause(Min, Max) ->
    Ms = round(Min * math:pow(Max / Min, rand:uniform())),
    receive after Ms -> ok end.

shuffle(List) ->
    [X || {_, X} <- lists:sort([{rand:uniform(), X} || X <- List])].

%% ---------------------------------------------------------------- Kubernetes in small

%% Nodes of one base name, each on its address, as in the pods of a headless service.
addresses_from_dns_are_nodes_on_their_hosts(Config) ->
    with_hosts(Config, fun(Peers) ->
        start_name_server(hd(Peers)),
        [
            start([Peer], [?TAB], #{
                backend_module => ferrets_discovery_dns,
                query => "ferrets.test",
                basename => "ferrets",
                resolver_options => [{nameservers, [{{10, 77, 0, 1}, 5353}]}, {timeout, 1000}],
                retry_intervals => intervals()
            })
         || Peer <- Peers
        ],
        await_ready(Peers),
        await_mesh(Peers, ?TAB),
        ?assertEqual(names(Peers), maps:get(joined_nodes, status(hd(Peers))))
    end).

start_name_server(Peer) ->
    call(Peer, fun() ->
        Self = self(),
        spawn(fun() ->
            _ = ferrets_test_dns:start({0, 0, 0, 0}, 5353, fun
                ("ferrets.test", a) -> [{10, 77, 0, N} || N <- lists:seq(1, ?HOSTS)];
                ("ferrets.test", aaaa) -> []
            end),
            Self ! started,
            receive never -> ok end
        end),
        receive started -> ok end
    end).
