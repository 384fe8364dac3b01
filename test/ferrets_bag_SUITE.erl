%%% Bags, and lists that readers see all at once, on real nodes.
-module(ferrets_bag_SUITE).

-include_lib("stdlib/include/assert.hrl").

-compile(export_all).

-define(TAB, ?FUNCTION_NAME).
-define(BAG, #{type => bag}).

-import(ferrets_test_cluster, [cluster/1, call/2, call/4, node/1, start_joined/2, start_joined/3]).

-compile({no_auto_import, [node/1]}).

all() ->
    [
        objects_of_both_sides_come_together,
        a_deleted_key_spares_what_the_other_side_has_added_since,
        a_deleted_object_stays_deleted,
        insert_new_finds_a_key_taken_by_any_object,
        rows_of_a_lost_node_leave_a_bag,
        a_local_deletion_of_a_key_is_not_undone_by_a_sync,
        racing_writes_leave_no_difference,
        a_list_is_seen_all_at_once_on_every_node
    ].

init_per_suite(Config) ->
    ferrets_test_cluster:init_suite(2, Config).

end_per_suite(Config) ->
    ferrets_test_cluster:end_suite(Config).

end_per_testcase(Case, Config) ->
    ferrets_test_cluster:end_testcase(Case, Config).

%% ---------------------------------------------------------------- bags

objects_of_both_sides_come_together(Config) ->
    [A, B] = Peers = cluster(Config),
    ferrets_test_cluster:start_table(Peers, ?TAB, ?BAG),
    ok = call(A, ferrets, insert_many, [?TAB, [{K, a, V} || K <- lists:seq(1, 500), V <- [1, 2]]]),
    ok = call(B, ferrets, insert_many, [?TAB, [{K, b, V} || K <- lists:seq(1, 500), V <- [1, 2]]]),
    ok = call(B, ferrets, insert, [?TAB, {1, a, 1}]),
    ok = ferrets_test_cluster:join(?TAB, A, B),
    Expected = lists:sort([{K, Side, V} || K <- lists:seq(1, 500), Side <- [a, b], V <- [1, 2]]),
    ?assertEqual([Expected, Expected], sorted_dumps(Peers, ?TAB)),
    ?assertEqual([2000, 2000], [call(Peer, ferrets, size, [?TAB]) || Peer <- Peers]),
    ?assertEqual(ok, call(A, ferrets, verify, [?TAB])).

%% In clusters of their own, since a cut would spoil the one that the other tests share.
a_deleted_key_spares_what_the_other_side_has_added_since(_Config) ->
    [A, B] = Peers = ferrets_test_cluster:start(2),
    try
        start_joined(Peers, ?TAB, ?BAG),
        ok = call(A, ferrets, insert_many, [?TAB, [{k, old, 1}, {k, old, 2}, {other, kept}]]),
        ferrets_test_cluster:cut([A], [B]),
        ok = call(A, ferrets, delete, [?TAB, k]),
        ok = call(B, ferrets, insert, [?TAB, {k, new}]),
        ferrets_test_cluster:heal([A], [B]),
        ok = ferrets_test_cluster:join(?TAB, A, B),
        Expected = lists:sort([{k, new}, {other, kept}]),
        ?assertEqual([Expected, Expected], sorted_dumps(Peers, ?TAB)),
        ?assertEqual(ok, call(A, ferrets, verify, [?TAB]))
    after
        ferrets_test_cluster:stop(Peers)
    end.

a_deleted_object_stays_deleted(_Config) ->
    [A, B] = Peers = ferrets_test_cluster:start(2),
    try
        start_joined(Peers, ?TAB, ?BAG),
        ok = call(A, ferrets, insert_many, [?TAB, [{k, 1}, {k, 2}, {k, 3}]]),
        ferrets_test_cluster:cut([A], [B]),
        ok = call(A, ferrets, delete_objects, [?TAB, [{k, 1}, {k, 2}]]),
        %% Newer than what was seen to be deleted: it stays.
        ok = call(B, ferrets, insert, [?TAB, {k, 2}]),
        ferrets_test_cluster:heal([A], [B]),
        ok = ferrets_test_cluster:join(?TAB, A, B),
        Expected = [{k, 2}, {k, 3}],
        ?assertEqual([Expected, Expected], sorted_dumps(Peers, ?TAB))
    after
        ferrets_test_cluster:stop(Peers)
    end.

insert_new_finds_a_key_taken_by_any_object(Config) ->
    [A, B] = Peers = cluster(Config),
    start_joined(Peers, ?TAB, ?BAG),
    ?assert(call(B, ferrets, insert_new, [?TAB, {k, 1}])),
    ok = call(A, ferrets, insert, [?TAB, {k, 2}]),
    ?assertNot(call(B, ferrets, insert_new, [?TAB, {k, 3}])),
    ?assertEqual({false, [{k, 1}, {k, 2}]}, call(B, ferrets, insert_new_or_lookup, [?TAB, {k, 3}])),
    ok = call(B, ferrets, insert_serial, [?TAB, {k, 3}]),
    ?assertEqual([{k, 1}, {k, 2}, {k, 3}], call(A, ferrets, lookup, [?TAB, k])),
    ok = call(B, ferrets, delete, [?TAB, k]),
    ?assert(call(A, ferrets, insert_new, [?TAB, {k, 4}])),
    ?assertEqual([{k, 4}], call(B, ferrets, lookup, [?TAB, k])).

rows_of_a_lost_node_leave_a_bag(_Config) ->
    [A, B] = Peers = ferrets_test_cluster:start(2),
    try
        start_joined(Peers, ?TAB, #{type => bag, on_nodedown => delete_owned}),
        [ok = call(Peer, ferrets, insert_many, [?TAB, [{K, node(Peer)} || K <- lists:seq(1, 300)]]) || Peer <- Peers],
        ?assertEqual(600, call(A, ferrets, size, [?TAB])),
        ferrets_test_cluster:kill(B),
        ferrets_test_cluster:wait_until(fun() -> call(A, ferrets, size, [?TAB]) =:= 300 end),
        ?assertEqual([{7, node(A)}], call(A, ferrets, lookup, [?TAB, 7]))
    after
        ferrets_test_cluster:stop(Peers)
    end.

a_local_deletion_of_a_key_is_not_undone_by_a_sync(Config) ->
    [A, B] = Peers = cluster(Config),
    start_joined(Peers, ?TAB, ?BAG),
    ok = call(A, ferrets, insert_many, [?TAB, [{k, 1}, {k, 2}, {other, 1}]]),
    true = call(B, ferrets_local, delete, [?TAB, k]),
    ?assertEqual([[{k, 1}, {k, 2}], []], [call(Peer, ferrets, lookup, [?TAB, k]) || Peer <- Peers]),
    ok = call(A, ferrets, sync, [?TAB]),
    ferrets_test_cluster:wait_until(fun() -> sorted_dumps(Peers, ?TAB) =:= [[{other, 1}], [{other, 1}]] end),
    ?assertEqual(ok, call(A, ferrets, verify, [?TAB])).

%% Both nodes write and delete the same few objects at the same moment.
racing_writes_leave_no_difference(Config) ->
    Peers = cluster(Config),
    start_joined(Peers, ?TAB, ?BAG),
    Race = fun() ->
        [
            case rand:uniform(4) of
                1 -> ok = ferrets:delete(?TAB, rand:uniform(50));
                2 -> ok = ferrets:delete_object(?TAB, {rand:uniform(50), rand:uniform(3)});
                _ -> ok = ferrets:insert(?TAB, {rand:uniform(50), rand:uniform(3)})
            end
         || _ <- lists:seq(1, 3000)
        ],
        ok
    end,
    Results = [ferrets_test_cluster:spawn(Peer, Race) || Peer <- Peers, _ <- [1, 2]],
    [ok = Result() || Result <- Results],
    [Here, There] = sorted_dumps(Peers, ?TAB),
    ?assert(length(Here) > 0),
    ?assertEqual(Here, There),
    ?assertEqual(ok, call(hd(Peers), ferrets, verify, [?TAB])).

sorted_dumps(Peers, Tab) ->
    [lists:sort(Records) || Records <- ferrets_test_cluster:dumps(Peers, Tab)].

%% ---------------------------------------------------------------- lists that are seen all at once

%% A writer overwrites 250 keys again and again, each time with the next number and in one list. Whoever has seen a number
%% under any key must not find a lower one under any other from then on.
a_list_is_seen_all_at_once_on_every_node(Config) ->
    [A, _] = Peers = cluster(Config),
    [
        begin
            Tab = list_to_atom(atom_to_list(?TAB) ++ atom_to_list(Type)),
            start_joined(Peers, Tab, #{type => Type}),
            ok = call(A, ferrets, insert_many, [Tab, numbered(0)]),
            Readers = [ferrets_test_cluster:spawn(Peer, fun() -> read_numbers(Tab, 0, 0) end) || Peer <- Peers],
            Write = fun() -> [ok = ferrets:insert_many(Tab, numbered(N)) || N <- lists:seq(1, 400)] end,
            _ = call(A, Write),
            [?assert(Reader() > 1000) || Reader <- Readers],
            [call(Peer, ferrets, stop, [Tab]) || Peer <- Peers]
        end
     || Type <- [ordered_set, set]
    ].

numbered(N) ->
    [{K, N} || K <- lists:seq(1, 250)].

%% Returns how many reads saw a number between the first and the last.
read_numbers(_Tab, 400, Between) ->
    Between;
read_numbers(Tab, Last, Between) ->
    N = ferrets:lookup_element(Tab, rand:uniform(250), 2),
    N >= Last orelse error({went_back, Last, N}),
    read_numbers(Tab, N, Between + min(N, 1)).
