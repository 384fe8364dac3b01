%%% What an XMPP server asks of its session, room and stream-management tables, on two real nodes: sessions of a user or of a
%%% node, unique users, rooms of a host, and clean-up after a node; and deletions by pattern, on all nodes.
-module(ferrets_queries_SUITE).

-include_lib("stdlib/include/assert.hrl").

-compile(export_all).

-define(TAB, ?FUNCTION_NAME).

-import(ferrets_test_cluster, [cluster/1, call/2, call/4, node/1, start_joined/2, start_joined/3]).

-compile({no_auto_import, [node/1]}).

all() ->
    [
        sessions_of_a_user_are_found_by_the_beginning_of_the_key,
        sessions_of_a_node_are_found_by_its_pids,
        unique_users_are_counted_by_a_walk,
        rooms_of_a_host_are_found_by_match,
        what_a_lost_node_left_is_selected_and_deleted,
        expired_streams_are_deleted_on_all_nodes,
        a_deletion_spares_what_is_newer_elsewhere,
        a_deletion_waits_while_the_table_is_paused,
        a_deletion_can_be_asked_of_another_node,
        a_local_deletion_is_local,
        a_mistake_deletes_nothing
    ].

init_per_suite(Config) ->
    ferrets_test_cluster:init_suite(2, Config).

end_per_suite(Config) ->
    ferrets_test_cluster:end_suite(Config).

end_per_testcase(Case, Config) ->
    ferrets_test_cluster:end_testcase(Case, Config).

%% ---------------------------------------------------------------- sessions

%% `{{Server, User, Resource, {Stamp, Pid}}, Priority, Info}', so that a user's sessions stand side by side.
session(I, Pid) ->
    Server = lists:nth(1 + I rem 2, [<<"a.example">>, <<"b.example">>]),
    User = <<"user", (integer_to_binary(I div 6))/binary>>,
    {{Server, User, <<"phone", (integer_to_binary(I))/binary>>, {I, Pid}}, I rem 3, #{ip => {127, 0, 0, I rem 256}}}.

%% Half of the sessions have their process on the one node, half on the other.
start_sessions(Config, Tab) ->
    [A, B] = Peers = cluster(Config),
    start_joined(Peers, Tab),
    Pids = [call(Peer, erlang, whereis, [init]) || Peer <- Peers],
    Sessions = [session(I, lists:nth(1 + I div 6 rem 2, Pids)) || I <- lists:seq(0, 599)],
    {Some, Others} = lists:partition(fun(_) -> rand:uniform(2) =:= 1 end, Sessions),
    ok = call(A, ferrets, insert_many, [Tab, Some]),
    ok = call(B, ferrets, insert_many, [Tab, Others]),
    {Peers, Sessions}.

sessions_of_a_user_are_found_by_the_beginning_of_the_key(Config) ->
    {Peers, Sessions} = start_sessions(Config, ?TAB),
    User = {<<"b.example">>, <<"user7">>, '_', '_'},
    Expected = lists:sort([S || {{<<"b.example">>, <<"user7">>, _, _}, _, _} = S <- Sessions]),
    ?assertEqual(3, length(Expected)),
    [
        begin
            ?assertEqual(Expected, call(Peer, ferrets, match_object, [?TAB, {User, '_', '_'}])),
            ?assertEqual(3, call(Peer, ferrets, select_count, [?TAB, [{{User, '_', '_'}, [], [true]}]])),
            %% The session of the highest priority.
            Spec = [{{User, '$1', '_'}, [{'==', '$1', 2}], ['$_']}],
            ?assertEqual([S || {_, 2, _} = S <- Expected], call(Peer, ferrets, select, [?TAB, Spec])),
            Server = [{{{<<"a.example">>, '_', '_', '_'}, '_', '_'}, [], [true]}],
            ?assertEqual(300, call(Peer, ferrets, select_count, [?TAB, Server]))
        end
     || Peer <- Peers
    ].

sessions_of_a_node_are_found_by_its_pids(Config) ->
    {Peers, Sessions} = start_sessions(Config, ?TAB),
    [
        begin
            Node = node(Of),
            Spec = [{{{'_', '_', '_', {'_', '$1'}}, '_', '_'}, [{'==', {node, '$1'}, Node}], ['$_']}],
            Expected = lists:sort([S || {{_, _, _, {_, Pid}}, _, _} = S <- Sessions, erlang:node(Pid) =:= Node]),
            ?assertEqual(300, length(Expected)),
            ?assertEqual(Expected, call(Peer, ferrets, select, [?TAB, Spec])),
            Here = [{{{'_', '_', '_', {'_', '$1'}}, '_', '_'}, [{'=/=', {node, '$1'}, {node}}], [true]}],
            ?assertEqual(300, call(Peer, ferrets, select_count, [?TAB, Here]))
        end
     || Peer <- Peers, Of <- Peers
    ].

%% From the first session of a user to the first one of the next: an atom is less than any binary, a tuple is not.
unique_users_are_counted_by_a_walk(Config) ->
    {Peers, Sessions} = start_sessions(Config, ?TAB),
    Expected = lists:usort([{Server, User} || {{Server, User, _, _}, _, _} <- Sessions]),
    Walk = fun(Tab) ->
        Unique = fun
            Unique('$end_of_table') -> [];
            Unique({Server, User, _, _}) -> [{Server, User} | Unique(ferrets:next(Tab, {Server, User, <<255>>, []}))]
        end,
        Unique(ferrets:first(Tab))
    end,
    Tab = ?TAB,
    [?assertEqual(Expected, call(Peer, fun() -> Walk(Tab) end)) || Peer <- Peers].

%% ---------------------------------------------------------------- rooms

rooms_of_a_host_are_found_by_match(Config) ->
    Peers = cluster(Config),
    start_joined(Peers, ?TAB),
    Rooms = [{{<<"muc", (H + $0)>>, <<"room", R:16>>}, list_to_atom("owner" ++ [R + $a])} || H <- [1, 2, 3], R <- [1, 2, 3, 4]],
    ok = call(hd(Peers), ferrets, insert_many, [?TAB, Rooms]),
    Expected = [[Room, Owner] || {{<<"muc2">>, Room}, Owner} <- Rooms],
    [
        begin
            ?assertEqual(Expected, call(Peer, ferrets, match, [?TAB, {{<<"muc2">>, '$1'}, '$2'}])),
            {First, More} = call(Peer, ferrets, match, [?TAB, {{<<"muc2">>, '$1'}, '$2'}, 3]),
            ?assertEqual(lists:sublist(Expected, 3), First),
            ?assertNotEqual('$end_of_table', More)
        end
     || Peer <- Peers
    ].

%% ---------------------------------------------------------------- cleaning up

what_a_lost_node_left_is_selected_and_deleted(Config) ->
    {[A, B] = Peers, Sessions} = start_sessions(Config, ?TAB),
    Gone = node(B),
    Spec = [{{'$1', '_', '_'}, [{'==', {node, {element, 2, {element, 4, '$1'}}}, Gone}], ['$1']}],
    Keys = call(A, ferrets, select, [?TAB, Spec]),
    ?assertEqual(300, length(Keys)),
    ok = call(A, ferrets, delete_many, [?TAB, Keys]),
    Left = lists:sort([S || {{_, _, _, {_, Pid}}, _, _} = S <- Sessions, erlang:node(Pid) =/= Gone]),
    ?assertEqual([Left, Left], ferrets_test_cluster:dumps(Peers, ?TAB)).

expired_streams_are_deleted_on_all_nodes(Config) ->
    [
        begin
            [A, B] = Peers = cluster(Config),
            start_joined(Peers, ?TAB, #{type => Type}),
            Streams = [{{stream, I}, I rem 10, <<I:256>>} || I <- lists:seq(1, 20_000)],
            ok = call(A, ferrets, insert_many, [?TAB, Streams]),
            Expired = [{{'_', '$1', '_'}, [{'<', '$1', 7}], [true]}],
            ?assertEqual(14_000, call(B, ferrets, select_delete, [?TAB, Expired])),
            ?assertEqual(0, call(A, ferrets, select_count, [?TAB, Expired])),
            ?assertEqual([6000, 6000], [call(Peer, ferrets, size, [?TAB]) || Peer <- Peers]),
            ?assertEqual(2000, call(A, ferrets, match_delete, [?TAB, {'_', 8, '_'}])),
            ?assertEqual(0, call(A, ferrets, match_delete, [?TAB, {'_', 8, '_'}])),
            Left = [S || {_, Age, _} = S <- Streams, Age =:= 7 orelse Age =:= 9],
            ?assertEqual([Left, Left], [lists:sort(Dump) || Dump <- ferrets_test_cluster:dumps(Peers, ?TAB)]),
            ?assertEqual(ok, call(A, ferrets, verify, [?TAB])),
            [call(Peer, ferrets, stop, [?TAB]) || Peer <- Peers]
        end
     || Type <- [ordered_set, set, bag]
    ].

%% In a cluster of its own, since a cut would spoil the one that the other tests share.
a_deletion_spares_what_is_newer_elsewhere(_Config) ->
    [A, B] = Peers = ferrets_test_cluster:start(2),
    try
        start_joined(Peers, ?TAB),
        ok = call(A, ferrets, insert_many, [?TAB, [{1, old}, {2, old}, {3, kept}]]),
        ferrets_test_cluster:cut([A], [B]),
        ?assertEqual(2, call(A, ferrets, match_delete, [?TAB, {'_', old}])),
        ok = call(B, ferrets, insert, [?TAB, {2, new}]),
        ferrets_test_cluster:heal([A], [B]),
        ok = ferrets_test_cluster:join(?TAB, A, B),
        Expected = [{2, new}, {3, kept}],
        ?assertEqual([Expected, Expected], ferrets_test_cluster:dumps(Peers, ?TAB)),
        ?assertEqual(ok, call(A, ferrets, verify, [?TAB]))
    after
        ferrets_test_cluster:stop(Peers)
    end.

a_deletion_waits_while_the_table_is_paused(Config) ->
    [A, B] = Peers = cluster(Config),
    start_joined(Peers, ?TAB),
    Tab = ?TAB,
    ok = call(A, ferrets, insert_many, [Tab, [{I} || I <- lists:seq(1, 100)]]),
    Found = call(A, fun() ->
        Pause = ferrets:pause(Tab),
        {Pid, Monitor} = spawn_monitor(fun() -> exit({deleted, ferrets:select_delete(Tab, [{'_', [], [true]}])}) end),
        %% What it deletes has come to the server, which waits.
        [pong = ferrets:ping(Tab) || _ <- lists:seq(1, 100)],
        Size = ferrets:size(Tab),
        ok = ferrets:unpause(Tab, Pause),
        receive
            {'DOWN', Monitor, process, Pid, Reason} -> {Size, Reason}
        end
    end),
    ?assertEqual({100, {deleted, 100}}, Found),
    ?assertEqual([0, 0], [call(Peer, ferrets, size, [Tab]) || Peer <- [A, B]]).

a_deletion_can_be_asked_of_another_node(Config) ->
    [A, B] = Peers = cluster(Config),
    start_joined(Peers, ?TAB),
    ok = call(A, ferrets, insert_many, [?TAB, [{I, I rem 2} || I <- lists:seq(1, 100)]]),
    Server = ferrets_test_cluster:server(B, ?TAB),
    ?assertEqual(50, call(A, ferrets, match_delete, [Server, {'_', 1}])),
    ?assertEqual([50, 50], [call(Peer, ferrets, size, [?TAB]) || Peer <- Peers]),
    ?assertEqual(50, call(A, ferrets, select_delete, [{local, ?TAB}, [{'_', [], [true]}]])),
    Mistake = fun() ->
        try
            ferrets:select_delete(Server, [wrong])
        catch
            error:Reason -> Reason
        end
    end,
    ?assertEqual(badarg, call(A, Mistake)).

a_local_deletion_is_local(Config) ->
    [A, B] = Peers = cluster(Config),
    start_joined(Peers, ?TAB),
    ok = call(A, ferrets, insert_many, [?TAB, [{I, I rem 4} || I <- lists:seq(1, 100)]]),
    ?assertEqual(true, call(A, ferrets_local, match_delete, [?TAB, {'_', 1}])),
    ?assertEqual(25, call(A, ferrets_local, select_delete, [?TAB, [{{'_', 2}, [], [true]}, {{'_', 3}, [], [yes]}]])),
    ?assertEqual(50, call(A, ferrets, size, [?TAB])),
    ?assertEqual(100, call(B, ferrets, size, [?TAB])).

a_mistake_deletes_nothing(Config) ->
    [A | _] = Peers = cluster(Config),
    start_joined(Peers, ?TAB),
    ok = call(A, ferrets, insert, [?TAB, {a, 1}]),
    Tab = ?TAB,
    Try = fun(Module, Function, Arguments) ->
        call(A, fun() ->
            try
                apply(Module, Function, Arguments)
            catch
                Class:Reason -> {Class, Reason}
            end
        end)
    end,
    Wrong = [[{{'_', '_'}, [], [true]} | more], [{'_', [], []}], [{'_', [{no_function, 1}], [true]}], all, '_'],
    [?assertEqual({error, badarg}, Try(Module, select_delete, [Tab, Spec])) || Module <- [ferrets, ferrets_local], Spec <- Wrong],
    ?assertEqual({error, badarg}, Try(ferrets, match_delete, [Tab, {#{'_' => 1}}])),
    ?assertMatch({exit, {noproc, {gen_server, call, _}}}, Try(ferrets, match_delete, [no_such_table, '_'])),
    ?assertEqual({error, badarg}, Try(ferrets_local, match_delete, [no_such_table, '_'])),
    ?assertEqual([{a, 1}], call(A, ferrets, dump, [Tab])).
