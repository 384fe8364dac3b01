%%% The NIF contract: each call, bad arguments, agreement with ets, loading, concurrent readers, a million records.
%%%
%%% Random cases print their seed; `FERRETS_SEED=N' replays one.
-module(ferrets_nif_SUITE).

-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-import(ferrets_test_library, [settings/0, create/2, create/3, scan/1, wait_until/2]).

-define(NIF, ferrets_nif).
-define(TAB, ?FUNCTION_NAME).

all() ->
    [
        the_abi_number_is_known,
        a_table_belongs_to_who_creates_it,
        a_table_goes_with_its_server,
        a_name_is_free_at_once_after_close,
        a_closed_table_raises_badarg,
        bad_arguments_raise_badarg,
        a_list_is_checked_to_its_end,
        a_long_list_is_written_in_slices,
        short_calls_use_up_a_time_slice,
        the_key_is_where_keypos_says,
        ordered_set_takes_equal_numbers_for_one_key,
        set_tells_equal_numbers_apart,
        what_is_alike_in_ets_is_alike_here,
        many_keys_of_one_hash_are_kept_apart,
        order_survives_splits_and_merges,
        long_records_and_short_ones_share_a_table,
        a_reload_is_refused_and_tables_stay,
        another_abi_is_refused,
        readers_miss_nothing_while_pages_split_and_merge,
        a_scan_shows_what_stays_exactly_once,
        tables_come_and_go_under_readers,
        no_call_is_long_on_a_million_records
    ].

init_per_suite(Config) ->
    ferrets_test_cases:init_suite(Config).

end_per_suite(_Config) ->
    ok.

init_per_testcase(_Case, Config) ->
    _ = rand:seed(exsss, proplists:get_value(seed, Config)),
    Config.

%% ---------------------------------------------------------------- a table's life

the_abi_number_is_known(_Config) ->
    ?assertEqual(8, ?NIF:abi()).

a_table_belongs_to_who_creates_it(_Config) ->
    Handle = create(?TAB, set),
    ?assertEqual({error, already_exists}, ?NIF:create(?TAB, set, 1, settings())),
    ?assertError(badarg, ?NIF:create(other, heap, 1, settings())),
    ?assertMatch(#{size := 0, pages := 1, tombstones := 0}, ?NIF:status(Handle)).

a_table_goes_with_its_server(_Config) ->
    {Server, Monitor} = spawn_monitor(fun() ->
        create(a_table_goes_with_its_server, set),
        ok = ?NIF:insert(a_table_goes_with_its_server, {a}, undefined),
        receive
            never -> ok
        end
    end),
    wait_until(fun() -> catch ?NIF:member(?TAB, a) end, true),
    exit(Server, kill),
    receive
        {'DOWN', Monitor, process, Server, killed} -> ok
    end,
    %% The name is free although the VM may not have told the library yet.
    create(?TAB, ordered_set),
    ?assertEqual([], ?NIF:lookup(?TAB, a)),
    ok = ?NIF:insert(?TAB, {b}, undefined),
    ?assertEqual([{b}], ?NIF:lookup(?TAB, b)).

a_name_is_free_at_once_after_close(_Config) ->
    [
        begin
            Handle = create(?TAB, Type),
            ok = ?NIF:insert(?TAB, {N, Type}, undefined),
            ?assertEqual([{N, Type}], ?NIF:lookup(?TAB, N)),
            ?assertEqual(1, ?NIF:size(?TAB)),
            ok = ?NIF:close(Handle),
            ok = ?NIF:close(Handle)
        end
     || N <- lists:seq(1, 500), Type <- [set, ordered_set]
    ].

a_closed_table_raises_badarg(_Config) ->
    Handle = create(?TAB, ordered_set),
    ok = ?NIF:close(Handle),
    Calls = [
        fun() -> ?NIF:lookup(?TAB, a) end,
        fun() -> ?NIF:member(?TAB, a) end,
        fun() -> ?NIF:size(?TAB) end,
        fun() -> ?NIF:first(?TAB) end,
        fun() -> ?NIF:last(?TAB) end,
        fun() -> ?NIF:next(?TAB, a) end,
        fun() -> ?NIF:prev(?TAB, a) end,
        fun() -> ?NIF:scan(?TAB, start) end,
        fun() -> ?NIF:check(?TAB, record, []) end,
        fun() -> ?NIF:insert(?TAB, {a}, undefined) end,
        fun() -> ?NIF:insert_many(?TAB, [{a}], undefined) end,
        fun() -> ?NIF:delete(?TAB, a, undefined) end,
        fun() -> ?NIF:delete_many(?TAB, [a], undefined) end,
        fun() -> ?NIF:status(Handle) end
    ],
    [?assertError(badarg, Call()) || Call <- Calls].

bad_arguments_raise_badarg(_Config) ->
    create(?TAB, ordered_set, 2),
    ok = ?NIF:insert(?TAB, {a, 1}, undefined),
    Settings = settings(),
    Calls = [
        fun() -> ?NIF:create("name", set, 1, Settings) end,
        fun() -> ?NIF:create(undefined, set, 1, Settings) end,
        fun() -> ?NIF:create(other, heap, 1, Settings) end,
        fun() -> ?NIF:create(other, set, 0, Settings) end,
        fun() -> ?NIF:create(other, set, 1 bsl 24, Settings) end,
        fun() -> ?NIF:create(other, set, one, Settings) end,
        fun() -> ?NIF:create(other, set, 1, []) end,
        fun() -> ?NIF:create(other, set, 1, maps:remove(node, Settings)) end,
        fun() -> ?NIF:create(other, set, 1, Settings#{tombstone_ttl_ms := -1}) end,
        fun() -> ?NIF:close(make_ref()) end,
        fun() -> ?NIF:status(handle) end,
        fun() -> ?NIF:lookup_element(?TAB, 1, 0) end,
        fun() -> ?NIF:lookup_element(?TAB, 1, 3) end,
        fun() -> ?NIF:lookup_element(?TAB, 1, first) end,
        fun() -> ?NIF:lookup_element(?TAB, absent, 1) end,
        fun() -> ?NIF:lookup_element(?TAB, absent, 0, default) end,
        fun() -> ?NIF:lookup_element(?TAB, 1, 3, default) end,
        fun() -> ?NIF:lookup("name", a) end,
        fun() -> ?NIF:lookup({?TAB}, a) end,
        fun() -> ?NIF:lookup(no_such_table, a) end,
        fun() -> ?NIF:insert(?TAB, record, undefined) end,
        fun() -> ?NIF:insert(?TAB, {}, undefined) end,
        fun() -> ?NIF:insert(?TAB, {short}, undefined) end,
        fun() -> ?NIF:insert_many(?TAB, record, undefined) end,
        fun() -> ?NIF:insert_many(?TAB, [{b, 2}, {short}], undefined) end,
        fun() -> ?NIF:insert_many(?TAB, [{b, 2} | improper], undefined) end,
        fun() -> ?NIF:delete_many(?TAB, [1 | improper], undefined) end,
        fun() -> ?NIF:check(?TAB, record, [{b, 2}, {short}]) end,
        fun() -> ?NIF:check(?TAB, record, [{b, 2} | improper]) end,
        fun() -> ?NIF:check(?TAB, object, []) end,
        fun() -> ?NIF:scan(?TAB, stop) end,
        fun() -> ?NIF:scan(?TAB, 17) end
    ],
    [?assertError(badarg, Call()) || Call <- Calls],
    ?assertEqual([{a, 1}], scan(?TAB)).

%% ---------------------------------------------------------------- writes

a_list_is_checked_to_its_end(_Config) ->
    create(?TAB, set),
    Long = [{N} || N <- lists:seq(1, 300000)],
    ?assertEqual(ok, check(?TAB, record, Long)),
    ?assertEqual(ok, check(?TAB, key, Long)),
    ?assertError(badarg, check(?TAB, record, Long ++ [last])),
    ?assertEqual(ok, check(?TAB, key, Long ++ [last])),
    ?assertError(badarg, check(?TAB, key, Long ++ last)),
    ?assertEqual(ok, check(?TAB, record, [])).

%% A process that has used 4,000 reductions makes room for others. With one for each call it would keep its scheduler for as
%% long as 4,000 look-ups take that wait for memory: several milliseconds.
short_calls_use_up_a_time_slice(_Config) ->
    [
        begin
            Handle = create(?TAB, Type),
            Used = fun(Call) ->
                {reductions, Before} = process_info(self(), reductions),
                lists:foreach(Call, lists:seq(1, 1000)),
                {reductions, After} = process_info(self(), reductions),
                After - Before
            end,
            ?assert(Used(fun(Key) -> ok = ?NIF:insert(?TAB, {Key}, undefined) end) >= 16_000),
            Reads = [
                fun(Key) -> [{Key}] = ?NIF:lookup(?TAB, Key) end,
                fun(Key) -> _ = ?NIF:lookup_element(?TAB, Key, 1) end,
                fun(Key) -> true = ?NIF:member(?TAB, Key) end,
                fun(Key) -> _ = ?NIF:next(?TAB, Key) end,
                fun(Key) -> _ = ?NIF:prev(?TAB, Key) end
            ],
            [?assert(Used(Read) >= 5_000) || Read <- Reads],
            ?assert(Used(fun(Key) -> ok = ?NIF:delete(?TAB, Key, undefined) end) >= 16_000),
            ok = ?NIF:close(Handle)
        end
     || Type <- [set, ordered_set, bag]
    ].

a_long_list_is_written_in_slices(_Config) ->
    [
        begin
            Handle = create(?TAB, Type),
            Records = [{N, <<N:64>>} || N <- lists:seq(1, 50000)],
            ?assert(slices(insert_many, ?TAB, Records) > 1),
            ?assertEqual(50000, ?NIF:size(?TAB)),
            ?assertEqual(Records, lists:sort(scan(?TAB))),
            Keys = lists:seq(1, 50000, 2),
            _ = slices(delete_many, ?TAB, Keys),
            ?assertEqual(25000, ?NIF:size(?TAB)),
            ?assertEqual(1, slices(insert_many, ?TAB, [])),
            ok = ?NIF:close(Handle)
        end
     || Type <- [set, ordered_set]
    ].

the_key_is_where_keypos_says(_Config) ->
    create(?TAB, set, 3),
    ok = ?NIF:insert(?TAB, {a, b, c, d}, undefined),
    ok = ?NIF:insert(?TAB, {x, y, c}, undefined),
    ?assertEqual([{x, y, c}], ?NIF:lookup(?TAB, c)),
    ?assertEqual(c, ?NIF:first(?TAB)),
    ok = ?NIF:delete(?TAB, c, undefined),
    ?assertEqual([], ?NIF:lookup(?TAB, c)).

ordered_set_takes_equal_numbers_for_one_key(_Config) ->
    create(?TAB, ordered_set),
    Big = trunc(1.0e300),
    Alike = [
        {1, 1.0},
        {0, -0.0},
        {-7, -7.0},
        {1 bsl 53, 9007199254740992.0},
        {1 bsl 80, float(1 bsl 80)},
        {-Big, -1.0e300},
        {{a, [1, {2}]}, {a, [1.0, {2.0}]}},
        {[1, 2 | 3], [1.0, 2.0 | 3.0]},
        {#{k => 1}, #{k => 1.0}},
        {maps:from_list([{I, I} || I <- lists:seq(1, 40)]), maps:from_list([{I, float(I)} || I <- lists:seq(1, 40)])}
    ],
    [
        begin
            ok = ?NIF:insert(?TAB, {Integer, 1}, undefined),
            ?assertEqual([{Integer, 1}], ?NIF:lookup(?TAB, Float)),
            ok = ?NIF:insert(?TAB, {Float, 2}, undefined),
            ?assert([{Float, 2}] =:= ?NIF:lookup(?TAB, Integer)),
            ?assertEqual(1, ?NIF:size(?TAB)),
            ok = ?NIF:delete(?TAB, Integer, undefined),
            ?assertNot(?NIF:member(?TAB, Float)),
            ok = ?NIF:insert(?TAB, {Float, 3}, undefined),
            ok = ?NIF:delete(?TAB, Integer, undefined),
            ?assertEqual(0, ?NIF:size(?TAB))
        end
     || {Integer, Float} <- Alike
    ],
    %% Keys of maps are compared exactly, and so are integers too large for a float.
    [ok = ?NIF:insert(?TAB, {Key}, undefined) || Key <- [#{1 => a}, #{1.0 => a}, 1.5, (1 bsl 53) + 1, float(1 bsl 53)]],
    ?assertEqual(5, ?NIF:size(?TAB)).

set_tells_equal_numbers_apart(_Config) ->
    create(?TAB, set),
    [ok = ?NIF:insert(?TAB, {Key}, undefined) || Key <- [1, 1.0, {1}, {1.0}, #{a => 1}, #{a => 1.0}]],
    ?assertEqual(6, ?NIF:size(?TAB)),
    ?assert([{1.0}] =:= ?NIF:lookup(?TAB, 1.0)),
    ?assert([{1}] =:= ?NIF:lookup(?TAB, 1)).

%% ---------------------------------------------------------------- ets as the oracle

what_is_alike_in_ets_is_alike_here(_Config) ->
    [agree(Type, Pool, 3000) || Type <- [set, ordered_set, bag], Pool <- [nasty_keys(60), nasty_keys(900)], _ <- [1, 2]].

agree(Type, Pool, Steps) ->
    Ets = ets:new(oracle, [Type]),
    Handle = create(oracle, Type),
    Keys = list_to_tuple(Pool),
    [step(Type, Ets, Keys) || _ <- lists:seq(1, Steps)],
    ?assertEqual(ets:info(Ets, size), ?NIF:size(oracle)),
    same_contents(Type, Ets),
    [drain(Handle) || tick <- [tick]],
    same_contents(Type, Ets),
    true = ets:delete(Ets),
    ok = ?NIF:close(Handle).

step(Type, Ets, Keys) ->
    Key = element(rand:uniform(tuple_size(Keys)), Keys),
    case rand:uniform(10) of
        N when N =< 4 ->
            Record = {Key, nasty(2), N},
            true = ets:insert(Ets, Record),
            ok = ?NIF:insert(oracle, Record, undefined);
        N when N =< 6 ->
            true = ets:delete(Ets, Key),
            ok = ?NIF:delete(oracle, Key, undefined);
        N when N =< 8 ->
            identical(ets:lookup(Ets, Key), ?NIF:lookup(oracle, Key)),
            identical(ets:member(Ets, Key), ?NIF:member(oracle, Key));
        _ when Type =:= ordered_set ->
            identical(ets:first(Ets), ?NIF:first(oracle)),
            identical(ets:last(Ets), ?NIF:last(oracle)),
            identical(ets:next(Ets, Key), ?NIF:next(oracle, Key)),
            identical(ets:prev(Ets, Key), ?NIF:prev(oracle, Key));
        _ ->
            %% The order of a set is anybody's; whether a key is there is not.
            identical(error_class(fun() -> ets:next(Ets, Key) end), error_class(fun() -> ?NIF:next(oracle, Key) end)),
            identical(error_class(fun() -> ets:prev(Ets, Key) end), error_class(fun() -> ?NIF:prev(oracle, Key) end))
    end.

same_contents(ordered_set, Ets) ->
    All = ets:tab2list(Ets),
    identical(All, scan(oracle)),
    Keys = [element(1, Record) || Record <- All],
    identical(Keys, walk(oracle, next, ?NIF:first(oracle))),
    identical(lists:reverse(Keys), walk(oracle, prev, ?NIF:last(oracle)));
same_contents(_SetOrBag, Ets) ->
    All = exact_sort(ets:tab2list(Ets)),
    identical(All, exact_sort(scan(oracle))),
    %% Each key once, however many records it has in a bag.
    Keys = exact_sort(ets_keys(Ets, ets:first(Ets))),
    identical(Keys, exact_sort(walk(oracle, next, ?NIF:first(oracle)))).

many_keys_of_one_hash_are_kept_apart(_Config) ->
    Seen = lists:foldl(
        fun(N, Acc) -> maps:update_with(erlang:phash2({N}), fun(Ns) -> [{N} | Ns] end, [{N}], Acc) end,
        #{},
        lists:seq(1, 300000)
    ),
    Alike = lists:append([Keys || {_, [_, _ | _] = Keys} <- maps:to_list(Seen)]),
    ?assertNotEqual([], Alike),
    [
        begin
            Handle = create(?TAB, Type),
            [ok = ?NIF:insert(?TAB, {Key, Key}, undefined) || Key <- Alike],
            ?assertEqual(length(Alike), ?NIF:size(?TAB)),
            [?assertEqual([{Key, Key}], ?NIF:lookup(?TAB, Key)) || Key <- Alike],
            ?assertEqual(lists:sort(Alike), lists:sort(walk(?TAB, next, ?NIF:first(?TAB)))),
            {Gone, Kept} = lists:split(length(Alike) div 2, lists:sort(Alike)),
            [ok = ?NIF:delete(?TAB, Key, undefined) || Key <- Gone],
            ?assertEqual(Kept, lists:sort([Key || {Key, _} <- scan(?TAB)])),
            ?assertEqual(Kept, lists:sort(walk(?TAB, next, ?NIF:first(?TAB)))),
            ok = ?NIF:close(Handle)
        end
     || Type <- [set, ordered_set]
    ],
    %% Pids are hashed by their number only, so those of many nodes share hashes by the thousand.
    Pids = [pid_of_node(Node, 7) || Node <- lists:seq(1, 3000)],
    create(?TAB, set),
    [ok = ?NIF:insert(?TAB, {Pid}, undefined) || Pid <- Pids],
    ?assertEqual(3000, ?NIF:size(?TAB)),
    ?assertEqual(lists:sort(Pids), lists:sort(walk(?TAB, next, ?NIF:first(?TAB)))),
    [ok = ?NIF:delete(?TAB, Pid, undefined) || Pid <- Pids],
    ?assertEqual([], scan(?TAB)).

%% ---------------------------------------------------------------- pages

order_survives_splits_and_merges(_Config) ->
    Up = lists:seq(1, 20000),
    Orders = [Up, lists:reverse(Up), shuffle(Up), lists:seq(1, 20000, 2) ++ lists:seq(20000, 1, -2)],
    [
        begin
            Handle = create(?TAB, Type),
            [ok = ?NIF:insert(?TAB, {Key, <<Key:128>>}, undefined) || Key <- Keys],
            #{pages := Pages} = ?NIF:status(Handle),
            ?assertEqual(Up, [Key || {Key, _} <- lists:sort(scan(?TAB))]),
            Type =:= ordered_set andalso ?assertEqual(Up, walk(?TAB, next, ?NIF:first(?TAB))),
            %% Runs up or down fill their pages, whatever comes in between.
            ?assert(Pages < 20000 / 120),
            {Gone, Kept} = lists:partition(fun(Key) -> Key rem 50 =/= 0 end, shuffle(Up)),
            [ok = ?NIF:delete(?TAB, Key, undefined) || Key <- Gone],
            drain(Handle),
            ?assertEqual(lists:sort(Kept), lists:sort([Key || {Key, _} <- scan(?TAB)])),
            [?assert(?NIF:member(?TAB, Key)) || Key <- Kept],
            Status = ?NIF:status(Handle),
            ?assertMatch(#{tombstones := 0, size := 400}, Status),
            ?assert(map_get(pages, Status) < 20),
            [ok = ?NIF:delete(?TAB, Key, undefined) || Key <- Kept],
            drain(Handle),
            ?assertMatch(#{tombstones := 0, size := 0, pages := 1}, ?NIF:status(Handle)),
            ?assertEqual('$end_of_table', ?NIF:first(?TAB)),
            ?assertEqual('$end_of_table', ?NIF:last(?TAB)),
            ok = ?NIF:insert(?TAB, {again}, undefined),
            ?assertEqual([{again}], scan(?TAB)),
            ok = ?NIF:close(Handle)
        end
     || Type <- [set, ordered_set], Keys <- Orders
    ].

long_records_and_short_ones_share_a_table(_Config) ->
    Long = fun(N) -> {N, lists:seq(1, 40000)} end,
    Short = fun(N) -> {N, short} end,
    [
        begin
            Handle = create(?TAB, Type),
            Ets = ets:new(oracle, [Type]),
            [
                begin
                    Key = rand:uniform(400),
                    Record =
                        case rand:uniform(20) of
                            1 -> Long(Key);
                            _ -> Short(Key)
                        end,
                    true = ets:insert(Ets, Record),
                    ok = ?NIF:insert(?TAB, Record, undefined)
                end
             || _ <- lists:seq(1, 2000)
            ],
            ?assertEqual(lists:sort(ets:tab2list(Ets)), lists:sort(scan(?TAB))),
            Type =:= ordered_set andalso ?assertEqual(ets:tab2list(Ets), scan(?TAB)),
            ok = ?NIF:close(Handle)
        end
     || Type <- [set, ordered_set]
    ].

%% ---------------------------------------------------------------- loading

a_reload_is_refused_and_tables_stay(_Config) ->
    create(?TAB, set),
    ok = ?NIF:insert(?TAB, {a}, undefined),
    ?assertMatch({error, _}, code:load_file(?NIF)),
    ?assertEqual([{a}], ?NIF:lookup(?TAB, a)),
    _ = code:purge(?NIF),
    ?assertMatch({error, _}, code:load_file(?NIF)),
    ?assertEqual([{a}], ?NIF:lookup(?TAB, a)),
    ok = ?NIF:insert(?TAB, {b}, undefined),
    ?assertEqual(2, ?NIF:size(?TAB)).

another_abi_is_refused(Config) ->
    %% The module's own code with another number, in a VM of its own.
    {?NIF, Beam, _} = code:get_object_code(?NIF),
    {ok, {?NIF, [{abstract_code, {raw_abstract_v1, Forms}}]}} = beam_lib:chunks(Beam, [abstract_code]),
    Library = filename:join(priv_dir(), "ferrets_nif"),
    Other = [load_with(Form, Library, 0) || Form <- Forms],
    {ok, ?NIF, Bin} = compile:forms(Other, [return_errors]),
    Dir = proplists:get_value(priv_dir, Config),
    ok = file:write_file(filename:join(Dir, "ferrets_nif.beam"), Bin),
    Eval = "io:format(\"~p\", [catch code:load_file(ferrets_nif)]), halt().",
    Said = os:cmd("erl -noshell -pa " ++ Dir ++ " -eval '" ++ Eval ++ "'"),
    ?assertMatch({match, _}, re:run(Said, "\\{error,on_load_failure\\}|\\{'EXIT'")).

load_with({function, Line, load, 0, _}, Library, Abi) ->
    Call = {call, Line, {remote, Line, {atom, Line, erlang}, {atom, Line, load_nif}}, [
        {string, Line, Library}, {integer, Line, Abi}
    ]},
    {function, Line, load, 0, [{clause, Line, [], [], [Call]}]};
load_with(Form, _Library, _Abi) ->
    Form.

priv_dir() ->
    case code:priv_dir(ferrets) of
        {error, bad_name} -> filename:join(filename:dirname(filename:dirname(code:which(?NIF))), "priv");
        Dir -> Dir
    end.

%% ---------------------------------------------------------------- readers beside a writer

readers_miss_nothing_while_pages_split_and_merge(_Config) ->
    [beside_a_writer(?TAB, Type, fun look_up/3) || Type <- [set, ordered_set]].

a_scan_shows_what_stays_exactly_once(_Config) ->
    [beside_a_writer(?TAB, Type, fun see_all/3) || Type <- [set, ordered_set]].

%% Multiples of 10 stay throughout; the keys between them come and go.
beside_a_writer(Tab, Type, Read) ->
    Handle = create(Tab, Type),
    Stay = lists:seq(0, 40000, 10),
    [ok = ?NIF:insert(Tab, {K, 0}, undefined) || K <- Stay],
    Deadline = erlang:monotonic_time(millisecond) + 1500,
    Readers = [spawn_monitor(fun() -> read_until(Deadline, Read, Tab, Type, Stay) end) || _ <- [1, 2]],
    write_until(Deadline, Handle, Tab),
    [
        receive
            {'DOWN', Monitor, process, Pid, Reason} -> ?assertEqual(normal, Reason)
        end
     || {Pid, Monitor} <- Readers
    ],
    ok = ?NIF:close(Handle).

read_until(Deadline, Read, Tab, Type, Stay) ->
    Read(Tab, Type, Stay),
    erlang:monotonic_time(millisecond) > Deadline orelse read_until(Deadline, Read, Tab, Type, Stay).

write_until(Deadline, Handle, Tab) ->
    From = rand:uniform(30000),
    Keys = [K || K <- lists:seq(From, From + 8000), K rem 10 =/= 0],
    _ = slices(insert_many, Tab, [{K, 1} || K <- Keys]),
    [ok = ?NIF:insert(Tab, {K, From}, undefined) || K <- lists:seq(0, 40000, 50)],
    _ = slices(delete_many, Tab, Keys),
    drain(Handle),
    erlang:monotonic_time(millisecond) > Deadline orelse write_until(Deadline, Handle, Tab).

look_up(Tab, _Type, Stay) ->
    [[{K, _}] = ?NIF:lookup(Tab, K) || K <- Stay].

see_all(Tab, Type, Stay) ->
    Scanned = [K || {K, _} <- scan(Tab), K rem 10 =:= 0],
    Walked = [K || K <- walk_on(Tab, ?NIF:first(Tab)), K rem 10 =:= 0],
    Sort =
        case Type of
            ordered_set -> fun(Keys) -> Keys end;
            set -> fun lists:sort/1
        end,
    {Stay, scanned} = {Sort(Scanned), scanned},
    Type =:= ordered_set andalso ({Stay, walked} = {Walked, walked}).

%% Of a set, the present key may go under way, as in ets.
walk_on(_Tab, '$end_of_table') ->
    [];
walk_on(Tab, Key) ->
    try ?NIF:next(Tab, Key) of
        Next -> [Key | walk_on(Tab, Next)]
    catch
        error:badarg -> []
    end.

tables_come_and_go_under_readers(_Config) ->
    Tab = ?TAB,
    Deadline = erlang:monotonic_time(millisecond) + 1500,
    Readers = [spawn_monitor(fun() -> read_whatever(Deadline, Tab) end) || _ <- [1, 2]],
    come_and_go(Deadline, Tab, set, 2),
    [
        receive
            {'DOWN', Monitor, process, Pid, Reason} -> ?assertEqual(normal, Reason)
        end
     || {Pid, Monitor} <- Readers
    ].

%% A reader may find the table or not, but never a record of another one.
come_and_go(Deadline, Tab, Type, KeyPos) ->
    Handle = create(Tab, Type, KeyPos),
    [ok = ?NIF:insert(Tab, {K, K, K}, undefined) || K <- lists:seq(1, rand:uniform(1500))],
    ok = ?NIF:close(Handle),
    Others = [{set, 1}, {set, 2}, {ordered_set, 2}, {ordered_set, 3}],
    {Next, Pos} = lists:nth(rand:uniform(4), Others),
    erlang:monotonic_time(millisecond) > Deadline orelse come_and_go(Deadline, Tab, Next, Pos).

read_whatever(Deadline, Tab) ->
    Key = rand:uniform(1500),
    try ?NIF:lookup(Tab, Key) of
        [] -> ok;
        [{Key, Key, Key}] -> ok
    catch
        error:badarg -> ok
    end,
    try ?NIF:scan(Tab, start) of
        {Records, _} -> [{K, K, K} = Record || {K, _, _} = Record <- Records]
    catch
        error:badarg -> ok
    end,
    try ?NIF:next(Tab, Key) of
        Next -> true = Next =:= '$end_of_table' orelse is_integer(Next)
    catch
        error:badarg -> ok
    end,
    erlang:monotonic_time(millisecond) > Deadline orelse read_whatever(Deadline, Tab).

%% ---------------------------------------------------------------- a million records

%% The same calls are made on fresh tables, until none is left that was long on all of them. A scheduler that loses its core
%% makes some call look long, but not the same one each time; a call that does too much is long for ever.
no_call_is_long_on_a_million_records(_Config) ->
    [
        begin
            First = ordsets:from_list(long_calls(?TAB, Type)),
            ?assertEqual([], still_long(?TAB, Type, First, 5))
        end
     || Type <- [set, ordered_set, bag]
    ].

still_long(_Tab, _Type, Suspects, Tries) when Suspects =:= []; Tries =:= 0 ->
    Suspects;
still_long(Tab, Type, Suspects, Tries) ->
    ct:pal("~p: ~p", [Type, Suspects]),
    Again = ordsets:from_list(long_calls(Tab, Type)),
    still_long(Tab, Type, ordsets:intersection(Suspects, Again), Tries - 1).

long_calls(Tab, Type) ->
    N = 1000000,
    Parent = self(),
    {Pid, Monitor} = spawn_monitor(fun() ->
        Handle = create(Tab, Type),
        timed(insert_many, fun(I) -> ?NIF:insert_many(Tab, records(I, N), undefined) end, N div 2 div 100, 100),
        timed(insert, fun(I) -> ?NIF:insert(Tab, record(I, N), undefined) end, N div 2, 1, N div 2),
        timed(lookup, fun(I) -> ?NIF:lookup(Tab, I) end, 100000, 7),
        timed(delete, fun(I) -> ?NIF:delete(Tab, I, undefined) end, 100000, 3),
        timed(first, fun(_) -> ?NIF:first(Tab) end, 100, 1),
        timed(scan, {fun scan_on/2, Tab, start}, 400, 1),
        timed(tick, fun(_) -> ?NIF:tick(Handle) end, 1000, 1),
        timed(close, fun(_) -> ?NIF:close(Handle) end, 1, 1),
        Parent ! {self(), get()}
    end),
    receive
        {Pid, Long} -> _ = demonitor(Monitor, [flush]), [Call || {{long, Call}, _} <- Long];
        {'DOWN', Monitor, process, Pid, Reason} -> error(Reason)
    end.

%% Keys in an order that is neither ascending nor random, so that it needs no memory.
record(I, N) ->
    {I * 7919 rem N, <<I:512>>}.

records(I, N) ->
    [record(I + J, N) || J <- lists:seq(0, 99)].

scan_on(_Tab, done) -> done;
scan_on(Tab, Position) -> element(2, ?NIF:scan(Tab, Position)).

timed(What, Call, Times, Step) ->
    timed(What, Call, Times, Step, 0).

timed(_What, _Call, 0, _Step, _I) ->
    ok;
timed(What, {Call, Tab, State}, Times, Step, I) ->
    Next = timed_call(What, I, fun() -> Call(Tab, State) end),
    timed(What, {Call, Tab, Next}, Times - 1, Step, I + Step);
timed(What, Call, Times, Step, I) ->
    _ = timed_call(What, I, fun() -> Call(I) end),
    timed(What, Call, Times - 1, Step, I + Step).

timed_call(What, I, Call) ->
    Begin = erlang:monotonic_time(microsecond),
    Result = Call(),
    case erlang:monotonic_time(microsecond) - Begin of
        Long when Long > 1000 -> put({long, {What, I}}, Long);
        _ -> ok
    end,
    Result.

%% ---------------------------------------------------------------- terms

nasty_keys(N) ->
    [nasty(3) || _ <- lists:seq(1, N)].

nasty(0) ->
    leaf();
nasty(Depth) ->
    Sub = fun() -> nasty(rand:uniform(Depth) - 1) end,
    case rand:uniform(12) of
        1 -> [Sub(), Sub() | Sub()];
        2 -> [Sub() || _ <- lists:seq(1, rand:uniform(4))];
        3 -> #{Sub() => Sub(), a => Sub()};
        4 -> maps:from_list([{I, Sub()} || I <- lists:seq(1, 40)]);
        N when N =< 7 -> list_to_tuple([Sub() || _ <- lists:seq(1, rand:uniform(4) - 1)]);
        _ -> leaf()
    end.

leaf() ->
    Small = rand:uniform(5) - 3,
    case rand:uniform(22) of
        1 -> float(Small);
        2 -> -0.0;
        3 -> Small + 0.5;
        4 -> (1 bsl 53) + Small;
        5 -> float((1 bsl 53) + Small);
        6 -> (1 bsl 70) + Small;
        7 -> float(1 bsl 70);
        8 -> 1.0e300;
        9 -> trunc(1.0e300);
        10 -> self();
        11 -> pid_of_node(rand:uniform(3), rand:uniform(4));
        12 -> persistent_ref();
        13 -> fun ?MODULE:leaf/0;
        14 -> binary:copy(<<$x>>, lists:nth(rand:uniform(5), [0, 1, 63, 64, 65]));
        15 -> binary:part(large(Small), 3, 80);
        16 -> <<Small:7>>;
        17 -> lists:nth(rand:uniform(6), [[], '', {}, #{}, "text", start]);
        18 -> lists:nth(rand:uniform(4), [a, b, done, '$end_of_table_']);
        19 -> fun() -> Small end;
        20 -> -(1 bsl 59) + Small;
        _ -> Small
    end.

persistent_ref() ->
    Key = {?MODULE, rand:uniform(5)},
    case persistent_term:get(Key, none) of
        none ->
            Ref = make_ref(),
            persistent_term:put(Key, Ref),
            Ref;
        Ref ->
            Ref
    end.

%% A pid of a node that does not exist.
pid_of_node(Node, Number) ->
    Name = list_to_binary("n" ++ integer_to_list(Node) ++ "@nowhere"),
    binary_to_term(<<131, 88, 119, (byte_size(Name)), Name/binary, Number:32, 0:32, 1:32>>).

large(N) ->
    binary:copy(<<N:64>>, 20).

%% ---------------------------------------------------------------- calls in slices

ets_keys(_Ets, '$end_of_table') -> [];
ets_keys(Ets, Key) -> [Key | ets_keys(Ets, ets:next(Ets, Key))].

walk(_Tab, _Step, '$end_of_table') -> [];
walk(Tab, Step, Key) -> [Key | walk(Tab, Step, ?NIF:Step(Tab, Key))].

check(Tab, Kind, Terms) ->
    case ?NIF:check(Tab, Kind, Terms) of
        {more, Rest} -> check(Tab, Kind, Rest);
        ok -> ok
    end.

slices(Call, Tab, Terms) ->
    case ?NIF:Call(Tab, Terms, undefined) of
        {more, [_ | _] = Rest} -> 1 + slices(Call, Tab, Rest);
        ok -> 1
    end.

%% Forgets all tombstones: their time is over when they are made.
drain(Handle) ->
    case ?NIF:tick(Handle) of
        {more, _} ->
            drain(Handle);
        {done, _} ->
            case ?NIF:status(Handle) of
                #{tombstones := 0} -> ok;
                _ -> drain(Handle)
            end
    end.

%% ---------------------------------------------------------------- comparing

%% `=:=' takes 0.0 and -0.0 for one before OTP 27, and so do tables.
identical(Expected, Found) ->
    Expected =:= Found orelse error({differ, [{expected, Expected}, {found, Found}]}).

%% Sorts terms that are alike (`=:=') next to each other, and 1 apart from 1.0.
%% 0.0 and -0.0 are two terms from OTP 27 on, of one hash in some releases.
exact_sort(Terms) ->
    [Term || {_, _, Term} <- lists:sort([{erlang:phash2(Term), term_to_binary(Term), Term} || Term <- Terms])].

error_class(Call) ->
    try Call() of
        _ -> no_error
    catch
        error:Reason -> Reason
    end.

shuffle(List) ->
    [Element || {_, Element} <- lists:sort([{rand:uniform(), Element} || Element <- List])].
