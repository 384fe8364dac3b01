%%% The API on one node: what each call returns, and what becomes of bad input.
-module(ferrets_SUITE).

-include_lib("stdlib/include/assert.hrl").

-compile(export_all).

-define(TAB, ?FUNCTION_NAME).

all() ->
    [
        a_record_is_read_back,
        the_newer_of_two_writes_to_a_key_stands,
        a_deleted_record_is_gone,
        many_records_are_written_and_deleted_at_once,
        the_key_is_where_keypos_says,
        an_ordered_set_walks_in_key_order,
        a_set_walks_over_every_record_once,
        folds_go_from_end_to_end,
        an_element_is_looked_up,
        a_long_table_is_dumped_whole,
        any_term_is_key_or_value,
        a_server_is_found_however_it_is_named,
        requests_are_answered_in_the_order_of_their_ids,
        requests_of_one_caller_are_applied_in_order,
        info_has_all_that_it_promises,
        a_lone_server_leads_itself,
        a_lone_table_sends_no_message,
        a_record_that_is_none_raises_badarg,
        one_bad_element_keeps_out_the_whole_list,
        reading_a_missing_table_raises_badarg,
        writing_to_a_missing_table_exits_with_noproc,
        asking_a_missing_table_raises_pid_not_found,
        all_wrong_options_are_named_and_nothing_starts,
        a_table_starts_once,
        no_call_on_a_million_records_holds_a_scheduler
    ].

init_per_testcase(_Case, Config) ->
    Config.

end_per_testcase(Case, _Config) ->
    whereis(Case) =:= undefined orelse ferrets:stop(Case).

%% ---------------------------------------------------------------- reading and writing

a_record_is_read_back(_Config) ->
    start(?TAB, #{}),
    ?assertEqual(ok, ferrets:insert(?TAB, {a, 1})),
    ?assertEqual([{a, 1}], ferrets:lookup(?TAB, a)),
    ?assertEqual([], ferrets:lookup(?TAB, b)),
    ?assert(ferrets:member(?TAB, a)),
    ?assertNot(ferrets:member(?TAB, b)),
    ?assertEqual(1, ferrets:size(?TAB)).

the_newer_of_two_writes_to_a_key_stands(_Config) ->
    start(?TAB, #{}),
    ok = ferrets:insert(?TAB, {a, 1}),
    ok = ferrets:insert(?TAB, {a, 2, more}),
    ?assertEqual([{a, 2, more}], ferrets:lookup(?TAB, a)),
    ?assertEqual(1, ferrets:size(?TAB)).

a_deleted_record_is_gone(_Config) ->
    start(?TAB, #{}),
    ok = ferrets:insert(?TAB, {a, 1}),
    ?assertEqual(ok, ferrets:delete(?TAB, a)),
    ?assertEqual(ok, ferrets:delete(?TAB, never_there)),
    ?assertEqual([], ferrets:lookup(?TAB, a)),
    ?assertEqual(0, ferrets:size(?TAB)),
    ?assertEqual([], ferrets:tab2list(?TAB)).

many_records_are_written_and_deleted_at_once(_Config) ->
    start(?TAB, #{}),
    Records = [{Key, Key * Key} || Key <- lists:seq(1, 10_000)],
    ?assertEqual(ok, ferrets:insert_many(?TAB, Records)),
    ?assertEqual(Records, ferrets:dump(?TAB)),
    ?assertEqual(ok, ferrets:delete_many(?TAB, lists:seq(2, 10_000))),
    ?assertEqual([{1, 1}], ferrets:dump(?TAB)),
    ?assertEqual(ok, ferrets:insert_many(?TAB, [])),
    ?assertEqual(ok, ferrets:delete_many(?TAB, [])),
    ?assertEqual([{1, 1}], ferrets:dump(?TAB)).

the_key_is_where_keypos_says(_Config) ->
    start(?TAB, #{keypos => 2}),
    ok = ferrets:insert(?TAB, {record, key, value}),
    ?assertEqual([{record, key, value}], ferrets:lookup(?TAB, key)),
    ?assertEqual([], ferrets:lookup(?TAB, record)).

an_ordered_set_walks_in_key_order(_Config) ->
    start(?TAB, #{type => ordered_set}),
    ok = ferrets:insert_many(?TAB, [{3}, {1}, {2}]),
    ?assertEqual(1, ferrets:first(?TAB)),
    ?assertEqual(2, ferrets:next(?TAB, 1)),
    ?assertEqual(3, ferrets:next(?TAB, 2.5)),
    ?assertEqual('$end_of_table', ferrets:next(?TAB, 3)),
    ?assertEqual(3, ferrets:last(?TAB)),
    ?assertEqual(2, ferrets:prev(?TAB, 3)),
    ?assertEqual('$end_of_table', ferrets:prev(?TAB, 1)),
    ?assertEqual([{1}], ferrets:lookup(?TAB, 1.0)).

a_set_walks_over_every_record_once(_Config) ->
    start(?TAB, #{type => set}),
    ok = ferrets:insert_many(?TAB, [{Key} || Key <- lists:seq(1, 1000)]),
    ?assertEqual(lists:seq(1, 1000), lists:sort(walk(?TAB, ferrets:first(?TAB)))),
    ?assertEqual([], ferrets:lookup(?TAB, 1.0)).

walk(_Tab, '$end_of_table') -> [];
walk(Tab, Key) -> [Key | walk(Tab, ferrets:next(Tab, Key))].

folds_go_from_end_to_end(_Config) ->
    start(?TAB, #{}),
    Records = [{Key} || Key <- lists:seq(1, 2000)],
    ok = ferrets:insert_many(?TAB, Records),
    Collect = fun(Record, Acc) -> [Record | Acc] end,
    ?assertEqual(lists:reverse(Records), ferrets:foldl(Collect, [], ?TAB)),
    ?assertEqual(Records, ferrets:foldr(Collect, [], ?TAB)).

an_element_is_looked_up(_Config) ->
    start(?TAB, #{}),
    ok = ferrets:insert(?TAB, {a, 1}),
    ?assertEqual(1, ferrets:lookup_element(?TAB, a, 2)),
    ?assertError(badarg, ferrets:lookup_element(?TAB, a, 3)),
    ?assertError(badarg, ferrets:lookup_element(?TAB, b, 2)),
    ?assertEqual(1, ferrets:lookup_element(?TAB, a, 2, default)),
    ?assertEqual(default, ferrets:lookup_element(?TAB, b, 2, default)),
    %% A position that no record has is a mistake, record or not.
    [?assertError(badarg, ferrets:lookup_element(?TAB, Key, Position, default)) || Key <- [a, b], Position <- [0, -1, 1.0, x]].

a_long_table_is_dumped_whole(_Config) ->
    {ok, Server} = start(?TAB, #{}),
    Records = [{Key, <<Key:64>>} || Key <- lists:seq(1, 50_000)],
    ok = ferrets:insert_many(?TAB, Records),
    ?assertEqual(Records, ferrets:tab2list(?TAB)),
    ?assertEqual({ok, Records}, ferrets:remote_dump(Server)).

any_term_is_key_or_value(_Config) ->
    start(?TAB, #{type => set}),
    Terms = [
        self(), make_ref(), fun() -> ok end, fun lists:map/2, 1 bsl 200, 1.5, -0.0, <<1:3>>, binary:copy(<<"x">>, 1000), "",
        [a | b], {}, #{a => #{}}, hd(erlang:ports()), 'ärgerlich'
        | ferrets_test_terms:native_records()
    ],
    ok = ferrets:insert_many(?TAB, [{Term, Term} || Term <- Terms]),
    [?assertEqual([{Term, Term}], ferrets:lookup(?TAB, Term)) || Term <- Terms],
    ?assertEqual(length(Terms), ferrets:size(?TAB)).

%% ---------------------------------------------------------------- calls and requests

a_server_is_found_however_it_is_named(_Config) ->
    {ok, Server} = start(?TAB, #{}),
    yes = global:register_name(?TAB, Server),
    Names = [?TAB, Server, {local, ?TAB}, {global, ?TAB}, {via, global, ?TAB}],
    [
        begin
            ?assertEqual(ok, ferrets:insert(Name, {Name})),
            ?assertEqual(ok, ferrets:insert_many(Name, [{Name}, {x}])),
            ?assertEqual(ok, ferrets:delete(Name, x)),
            ?assertEqual({reply, ok}, ferrets:wait_response(ferrets:delete_many_request(Name, [x]), 1000)),
            ?assertEqual(pong, ferrets:ping(Name)),
            ?assertEqual(ok, ferrets:ping_all(Name)),
            ?assertEqual({ok, ?TAB}, ferrets:table_name(Name))
        end
     || Name <- Names
    ],
    ?assertEqual(lists:sort([{Name} || Name <- Names]), lists:sort(ferrets:dump(?TAB))).

requests_are_answered_in_the_order_of_their_ids(_Config) ->
    start(?TAB, #{}),
    Ids = [
        ferrets:insert_request(?TAB, {a}),
        ferrets:insert_request(?TAB, [{b}, {c}]),
        ferrets:insert_request(nobody, {a}),
        ferrets:insert_many_request(?TAB, [{d}]),
        ferrets:delete_request(?TAB, a),
        ferrets:get_nodes_request(?TAB)
    ],
    ?assertMatch(
        [{reply, ok}, {reply, ok}, {error, {noproc, _}}, {reply, ok}, {reply, ok}, {reply, [_]}],
        ferrets:wait_responses(Ids, 5000)
    ),
    ?assertEqual([{b}, {c}, {d}], ferrets:dump(?TAB)),
    ?assertEqual(timeout, ferrets:wait_response(hd(Ids), 0)),
    ?assertEqual([timeout, timeout], ferrets:wait_responses([make_ref(), make_ref()], 10)),
    ?assertEqual([timeout], ferrets:wait_responses([make_ref()], {abs, erlang:monotonic_time(millisecond) + 10})),
    ?assertEqual({messages, []}, process_info(self(), messages)).

requests_of_one_caller_are_applied_in_order(_Config) ->
    start(?TAB, #{}),
    Ids = [ferrets:insert_request(?TAB, {key, N}) || N <- lists:seq(1, 1000)],
    ?assertEqual([{key, 1000}], ferrets:lookup(?TAB, key)),
    ?assert(lists:all(fun(Answer) -> Answer =:= {reply, ok} end, ferrets:wait_responses(Ids, infinity))).

info_has_all_that_it_promises(_Config) ->
    {ok, Server} = start(?TAB, #{type => set, keypos => 2, tombstone_ttl => 1000}),
    ok = ferrets:insert(?TAB, {a, b}),
    Node = node(),
    #{memory := Memory} =
        Info = ferrets:info(?TAB),
    ?assertMatch(
        #{
            table := ?TAB, type := set, keypos := 2, nodes := [Node], other_servers := [], size := 1, tombstones := 0,
            opts := #{type := set, tombstone_ttl := 1000}, node_down_history := [], pause_monitors := [],
            leader := Server, peers := []
        },
        Info
    ),
    ?assert(is_integer(Memory)),
    ?assertEqual([], ferrets:other_nodes(?TAB)),
    ?assertEqual([], ferrets:other_pids(?TAB)).

a_lone_server_leads_itself(_Config) ->
    {ok, Server} = start(?TAB, #{}),
    ?assertEqual(Server, ferrets:get_leader(?TAB)).

a_lone_table_sends_no_message(_Config) ->
    {ok, Server} = start(?TAB, #{}),
    1 = erlang:trace(Server, true, ['receive']),
    ok = ferrets:insert(?TAB, {a}),
    ok = ferrets:insert_many(?TAB, [{a}, {b}]),
    ok = ferrets:delete(?TAB, a),
    [{b}] = ferrets:lookup(?TAB, b),
    pong = ferrets:ping(?TAB),
    ?assertEqual([ping], [Question || {trace, _, 'receive', {'$gen_call', _, Question}} <- traced(Server)]).

%% Everything that the server has received but its clock.
traced(Server) ->
    1 = erlang:trace(Server, false, ['receive']),
    Delivered = erlang:trace_delivered(Server),
    receive {trace_delivered, Server, Delivered} -> ok end,
    traced_messages().

traced_messages() ->
    receive
        {trace, _, 'receive', {timeout, _, _}} -> traced_messages();
        {trace, _, 'receive', _} = Message -> [Message | traced_messages()]
    after 0 -> []
    end.

%% ---------------------------------------------------------------- bad input

a_record_that_is_none_raises_badarg(_Config) ->
    {ok, Server} = start(?TAB, #{keypos => 2}),
    [
        begin
            ?assertError(badarg, ferrets:insert(Name, Bad)),
            ?assertError(badarg, ferrets:insert_many(Name, [{a, b}, Bad])),
            is_list(Bad) orelse ?assertError(badarg, ferrets:insert_request(Name, Bad))
        end
     || Name <- [?TAB, Server, {local, ?TAB}], Bad <- [{}, {too_short}, not_a_tuple, "list", #{}, 1]
    ],
    ?assertEqual(0, ferrets:size(?TAB)),
    ?assertEqual(Server, whereis(?TAB)),
    ?assertEqual({messages, []}, process_info(self(), messages)).

one_bad_element_keeps_out_the_whole_list(_Config) ->
    {ok, Server} = start(?TAB, #{keypos => 2}),
    Good = [{a, Key} || Key <- lists:seq(1, 20_000)],
    [
        begin
            ?assertError(badarg, ferrets:insert_many(?TAB, Bad)),
            ?assertError(badarg, ferrets:insert_many_request(?TAB, Bad))
        end
     || Bad <- [Good ++ [{short}], Good ++ [x], Good ++ {a, 1}, Good ++ improper, not_a_list, {a, b}]
    ],
    ?assertEqual(0, ferrets:size(?TAB)),
    ok = ferrets:insert_many(?TAB, Good),
    [
        ?assertError(badarg, ferrets:delete_many(?TAB, Bad))
     || Bad <- [lists:seq(1, 20_000) ++ improper, not_a_list]
    ],
    ?assertEqual(20_000, ferrets:size(?TAB)),
    ?assertEqual(Server, whereis(?TAB)).

reading_a_missing_table_raises_badarg(_Config) ->
    [
        ?assertError(badarg, apply(ferrets, Function, Arguments))
     || {Function, Arguments} <- [
            {lookup, [nobody, a]}, {lookup_element, [nobody, a, 1]}, {lookup_element, [nobody, a, 1, b]},
            {member, [nobody, a]}, {size, [nobody]}, {first, [nobody]}, {last, [nobody]}, {next, [nobody, a]},
            {prev, [nobody, a]}, {tab2list, [nobody]}, {dump, [nobody]},
            {foldl, [fun(_, Acc) -> Acc end, [], nobody]}, {foldr, [fun(_, Acc) -> Acc end, [], nobody]},
            {lookup, ["nobody", a]}
        ]
    ].

writing_to_a_missing_table_exits_with_noproc(_Config) ->
    Dead = spawn_monitor(fun() -> ok end),
    receive {'DOWN', _, process, _, _} -> ok end,
    [
        begin
            ?assertExit({noproc, {gen_server, call, _}}, ferrets:insert(Name, {a})),
            ?assertExit({noproc, {gen_server, call, _}}, ferrets:insert_many(Name, [{a}])),
            ?assertExit({noproc, {gen_server, call, _}}, ferrets:delete(Name, a)),
            ?assertExit({noproc, {gen_server, call, _}}, ferrets:delete_many(Name, [a])),
            ?assertError(badarg, ferrets:insert(Name, no_record)),
            ?assertError(badarg, ferrets:insert_many(Name, [{a} | improper]))
        end
     || Name <- [nobody, {local, nobody}, {global, nobody}, {via, global, nobody}, element(1, Dead)]
    ],
    %% A process that is no table's server.
    ?assertError(badarg, ferrets:insert(kernel_sup, {a})).

asking_a_missing_table_raises_pid_not_found(_Config) ->
    [
        ?assertError({pid_not_found, Name}, ferrets:Function(Name))
     || Function <- [info, ping, ping_all, other_pids, other_nodes, table_name, get_leader, get_nodes_request, remote_dump, stop],
        Name <- [nobody, {global, nobody}]
    ].

all_wrong_options_are_named_and_nothing_starts(_Config) ->
    ?assertEqual(
        {error, [
            {bad_option, #{option => handle_down, value => no_fun}},
            {bad_option, #{option => keypos, value => 0}},
            {unknown_option, #{option => nonsense}},
            {bad_option, #{option => stall_timeout, value => 0}},
            {bad_option, #{option => tombstone_ttl, value => -1}},
            {bad_option, #{option => type, value => duplicate_bag}}
        ]},
        ferrets:start(?TAB, #{
            type => duplicate_bag, keypos => 0, handle_down => no_fun, nonsense => 1, tombstone_ttl => -1,
            stall_timeout => 0, compare_interval => 1000
        })
    ),
    ?assertEqual({error, [{bad_options, #{value => []}}]}, ferrets:start(?TAB, [])),
    [
        ?assertEqual({error, [{bad_option, #{option => Option, value => Value}}]}, ferrets:start(?TAB, #{Option => Value}))
     || {Option, Value} <- [{handle_conflict, fun(A) -> A end}, {handle_wrong_leader, none}, {on_nodedown, delete}]
    ],
    ?assertError(function_clause, ferrets:start("name", #{})),
    ?assertError(function_clause, ferrets:start(undefined, #{})),
    ?assertEqual(undefined, whereis(?TAB)),
    ?assertError(badarg, ferrets:size(?TAB)).

a_table_starts_once(_Config) ->
    {ok, Server} = start(?TAB, #{}),
    ok = ferrets:insert(?TAB, {a}),
    ?assertEqual({error, {already_started, Server}}, ferrets:start(?TAB, #{type => set})),
    ?assertEqual({error, {already_started, Server}}, ferrets:start_link(?TAB, #{})),
    ?assertEqual([{a}], ferrets:dump(?TAB)).

start(Tab, Options) ->
    {ok, _} = ferrets:start(Tab, Options).

%% ---------------------------------------------------------------- schedulers

%% `long_schedule' counts wall time: who is pushed off their core, by others or by what the test itself has going on, looks
%% long as well, a few times per round. So a control runs for as long on a small `ets' table, and in one round of a few we must
%% not be seen much more often than it. If long calls do not tell the VM of their time, it sees dozens in each round on a `set'.
no_call_on_a_million_records_holds_a_scheduler(_Config) ->
    [
        begin
            {ok, _} = ferrets:start(?TAB, #{type => Type}),
            [ok = ferrets:insert_many(?TAB, [{{N, I}, <<I:512>>} || I <- lists:seq(1, 1000)]) || N <- lists:seq(1, 1000)],
            1_000_000 = ferrets:size(?TAB),
            Rounds = [compare_with_control(fun() -> touch_all(?TAB) end) || _ <- lists:seq(1, 5)],
            ct:pal("~p: long schedules, ours and the control's: ~p", [Type, Rounds]),
            ?assert(lists:any(fun({Ours, Control}) -> length(Ours) =< 2 * Control + 5 end, Rounds)),
            ok = ferrets:stop(?TAB)
        end
     || Type <- [ordered_set, set]
    ].

compare_with_control(Fun) ->
    Begin = erlang:monotonic_time(millisecond),
    Ours = long_schedules(Fun),
    Time = erlang:monotonic_time(millisecond) - Begin,
    Control = long_schedules(fun() ->
        Tab = ets:new(control, [ordered_set]),
        spin(Tab, erlang:monotonic_time(millisecond) + Time)
    end),
    {Ours, length(Control)}.

spin(Tab, Until) ->
    [ets:insert(Tab, {rand:uniform(1000), N}) || N <- lists:seq(1, 100)],
    erlang:monotonic_time(millisecond) >= Until orelse spin(Tab, Until).

touch_all(Tab) ->
    ferrets_walk:each_slice(fun(_) -> ok end, Tab),
    Key = fun() -> {rand:uniform(1000), rand:uniform(1000)} end,
    [
        begin
            _ = ferrets:lookup(Tab, Key()),
            _ = ferrets:member(Tab, Key()),
            ok = ferrets:insert(Tab, {Key(), N}),
            ok = ferrets:delete(Tab, Key()),
            _ = ferrets:next(Tab, ferrets:first(Tab)),
            _ = ferrets:size(Tab)
        end
     || N <- lists:seq(1, 20_000)
    ],
    [ok = ferrets:insert_many(Tab, [{Key(), N} || _ <- lists:seq(1, 1000)]) || N <- lists:seq(1, 50)],
    [ok = ferrets:delete_many(Tab, [Key() || _ <- lists:seq(1, 1000)]) || _ <- lists:seq(1, 50)],
    pong = ferrets:ping(Tab),
    #{memory := _} = ferrets:info(Tab).

%% What the VM reports of the process that runs `Fun'.
long_schedules(Fun) ->
    Monitored = erlang:system_monitor(self(), [{long_schedule, 1}]),
    {Worker, Monitor} = spawn_monitor(Fun),
    receive {'DOWN', Monitor, process, Worker, Reason} -> normal = Reason end,
    erlang:system_monitor(Monitored),
    flush_long_schedules(Worker).

flush_long_schedules(Worker) ->
    receive
        {monitor, Worker, long_schedule, Info} -> [Info | flush_long_schedules(Worker)];
        {monitor, _, long_schedule, _} -> flush_long_schedules(Worker)
    after 0 -> []
    end.
