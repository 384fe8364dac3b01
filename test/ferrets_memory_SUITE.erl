%%% How records lie in memory: whole, whatever their size and parts, within bounds, and given back.
%%%
%%% Random cases print their seed; `FERRETS_SEED=N' replays one; `FERRETS_CASES=N' sets how often rubbish is thrown.
-module(ferrets_memory_SUITE).

-include_lib("stdlib/include/assert.hrl").

-compile(export_all).
-compile(nowarn_export_all).

-import(ferrets_test_library, [create/2, scan/1, wait_until/2, resident_kb/0, peak_kb/0]).

-define(NIF, ferrets_nif).
-define(TAB, ?FUNCTION_NAME).

all() ->
    [
        the_lay_out_of_terms_is_known,
        records_of_all_sizes_stay_what_they_were,
        records_of_all_sizes_come_to_a_peer_as_they_were,
        rubbish_from_a_peer_does_no_harm,
        lengths_that_lie_make_no_room,
        memory_stays_bounded_under_overwriting,
        memory_comes_back_when_a_table_goes,
        the_system_gets_memory_back
    ].

init_per_suite(Config) ->
    ferrets_test_cases:init_suite(5_000, Config).

end_per_suite(_Config) ->
    ok.

%% Else all is well but slower: whoever brings Ferrets to another release should know.
the_lay_out_of_terms_is_known(_Config) ->
    ?assert(?NIF:has_blocks()).

%% Short ones are put into chunks, longer ones in one piece into an environment, still longer ones the VM copies. The copies must be sound
%% enough for its garbage collector.
records_of_all_sizes_stay_what_they_were(_Config) ->
    Handle = create(?TAB, set),
    Records = records(),
    %% Several times, so that pages are compacted.
    [ok = ?NIF:insert(?TAB, Record, undefined) || _ <- lists:seq(1, 5), Record <- Records],
    Copies = [?NIF:lookup(?TAB, N) || {N, _} <- Records],
    ?assertEqual([[Record] || Record <- Records], Copies),
    %% Handed on, collected, and in all parts what it was.
    Parent = self(),
    {Pid, Monitor} = spawn_monitor(fun() ->
        Mine = [?NIF:lookup(?TAB, N) || _ <- lists:seq(1, 3), {N, _} <- Records],
        [erlang:garbage_collect() || _ <- lists:seq(1, 3)],
        Scanned = scan(?TAB),
        erlang:garbage_collect(),
        Parent ! {self(), Mine, Scanned}
    end),
    receive
        {Pid, Theirs, Scanned} ->
            erlang:garbage_collect(),
            ?assertEqual(Copies ++ Copies ++ Copies, Theirs),
            ?assertEqual(Records, lists:sort(Scanned)),
            ?assertEqual(term_to_binary(Copies), term_to_binary([[Record] || Record <- Records]));
        {'DOWN', Monitor, process, Pid, Reason} ->
            ct:fail(Reason)
    end,
    demonitor(Monitor, [flush]),
    %% On their way to a peer they look as the VM would have them.
    [?assertEqual(term_to_binary(Record), encoded(?TAB, Handle, Record)) || Record <- Records],
    ok = ?NIF:close(Handle).

%% Of all kinds and many sizes, each with a number of its own as its key.
records() ->
    Parts = [
        1, -1, 255, 256, -256, (1 bsl 31) - 1, 1 bsl 31, -(1 bsl 31), (1 bsl 59) - 1, -(1 bsl 59), 1 bsl 59, -(1 bsl 64), 1 bsl 700, 1.5, -0.0,
        x, 'Ω', true, [], {}, #{}, self(), make_ref(), <<>>, <<1:9>>, <<0:512>>, <<1:520>>,
        [a | b], "text", {1, {2.0, [3]}}, #{a => 1, b => #{2.0 => <<"c">>}}, maps:from_keys(lists:seq(1, 40), 1.0), fun lists:map/2
    ],
    Long = [{list, lists:seq(1, N)} || N <- [120, 125, 126, 127, 128, 32_600, 32_760, 32_770]],
    Mixed = [{mixed, lists:duplicate(N, Part)} || Part <- Parts, N <- [1, 7, 90, 260]],
    Floats = [{floats, list_to_tuple([float(I) || I <- lists:seq(1, N)])} || N <- [80, 84, 85, 86, 21_840, 21_850]],
    Bodies = Long ++ Mixed ++ Floats ++ [{one, Part} || Part <- Parts],
    lists:zip(lists:seq(1, length(Bodies)), Bodies).

encoded(Tab, Handle, Record) ->
    Alias = make_ref(),
    wait = ?NIF:ask(Tab, insert_new_or_lookup, Record, Alias),
    {done, [{answer, Alias, {found, [Encoded]}}]} = ?NIF:flush(Handle),
    Encoded.

%% Most are decoded without the VM, which must not be seen. More atoms than are remembered by name.
records_of_all_sizes_come_to_a_peer_as_they_were(_Config) ->
    Atoms = [{list_to_atom("atom " ++ integer_to_list(N)), N} || N <- lists:seq(1, 1000)],
    Records = records() ++ Atoms ++ [{{key, Key}, Key} || {_, Key} <- records(), byte_size(term_to_binary(Key)) < 300],
    with_pair(fun(Ours, Theirs) ->
        [write_to(Ours, Theirs, [Record]) || Record <- Records],
        ?assertEqual(exactly(scan(ours)), exactly(scan(theirs))),
        ?assertEqual(exactly(Records), exactly(scan(theirs))),
        write_to(Ours, Theirs, [setelement(1, Record, {many, element(1, Record)}) || Record <- Records]),
        ?assertEqual(2 * length(Records), ?NIF:size(theirs)),
        ?assertEqual(exactly(scan(ours)), exactly(scan(theirs))),
        erlang:garbage_collect()
    end).

exactly(Records) ->
    lists:sort([term_to_binary(Record) || Record <- Records]).

%% A batch with a byte changed, a byte left out or its end cut off, each time for a pair of tables of its own. Whatever of it is
%% taken for a record must be one.
rubbish_from_a_peer_does_no_harm(Config) ->
    _ = rand:seed(exsss, proplists:get_value(seed, Config)),
    Records = [Record || {_, Body} = Record <- records(), byte_size(term_to_binary(Body)) < 400],
    Outcomes = [with_pair(fun(Ours, Theirs) -> spoil(Ours, Theirs, some(3, Records)) end) || _ <- lists:seq(1, proplists:get_value(cases, Config))],
    Counted = [{Outcome, length([O || O <- Outcomes, O =:= Outcome])} || Outcome <- lists:usort(Outcomes)],
    ct:pal("~p", [Counted]),
    %% Some of it has to be found, and some must pass.
    [?assert(proplists:get_value(Outcome, Counted, 0) > 0) || Outcome <- [acknowledged, link_down]].

%% Each of 20,000 tuples says that it has 60,000 elements: 10 GB, if it were so.
lengths_that_lie_make_no_room(_Config) ->
    Liars = [
        binary:copy(<<$i, 60_000:32>>, 20_000),
        binary:copy(<<$l, 60_000:32>>, 20_000),
        binary:copy(<<$t, 1:32>>, 100_000)
    ],
    [
        with_pair(fun(Ours, Theirs) ->
            wait = ?NIF:insert(ours, {1}, {make_ref(), ok}),
            {done, [{send, _, Head, <<1:16/little, _:64, Length:16/little, _/binary>> = Body}]} = ?NIF:flush(Ours),
            Payload = <<131, Liar/binary>>,
            Spoilt = <<(binary:part(Body, 0, 12 + Length))/binary, 0, 0, (varint(byte_size(Payload)))/binary, Payload/binary>>,
            Before = peak_kb(),
            {done, [_, {link_down, 1, malformed} | _]} = ?NIF:message(Theirs, 1, Head, Spoilt),
            ?assert(peak_kb() - Before < 100_000)
        end)
     || Liar <- Liars
    ].

varint(Number) when Number < 128 -> <<Number>>;
varint(Number) -> <<1:1, Number:7, (varint(Number bsr 7))/binary>>.

some(Count, List) ->
    [lists:nth(rand:uniform(length(List)), List) || _ <- lists:seq(1, Count)].

spoil(Ours, Theirs, Records) ->
    wait = ?NIF:insert_many(ours, Records, {make_ref(), ok}),
    {done, [{send, _, Head, Body}]} = ?NIF:flush(Ours),
    {done, Effects} = ?NIF:message(Theirs, 1, Head, spoilt(Body, rand:uniform(byte_size(Body)) - 1)),
    Scanned = scan(theirs),
    erlang:garbage_collect(),
    ?assert(is_binary(term_to_binary(Scanned))),
    case Effects of
        [{send, 1, _Ack, <<>>}] -> acknowledged;
        [{send, 1, _Drop, <<>>}, {link_down, 1, malformed} | _] -> link_down
    end.

spoilt(Body, At) ->
    <<Before:At/binary, Byte, After/binary>> = Body,
    case rand:uniform(6) of
        1 -> Before;
        2 -> <<Before/binary, After/binary>>;
        _ -> <<Before/binary, (Byte bxor rand:uniform(255)), After/binary>>
    end.

%% Two tables, linked. Each knows the other as peer 1, and this process is the server of both.
with_pair(Run) ->
    [Ours, Theirs] = [create(Tab, set) || Tab <- [ours, theirs]],
    exchange(?NIF:peer_up(Ours, 1), Ours, Theirs),
    Result = Run(Ours, Theirs),
    [ok = ?NIF:close(Handle) || Handle <- [Ours, Theirs]],
    Result.

write_to(Ours, Theirs, Records) ->
    Reference = make_ref(),
    write_slices(Records, {Reference, ok}),
    exchange(flushed(?NIF:flush(Ours), Ours), Ours, Theirs),
    receive
        {Reference, ok} -> ok
    after 5000 -> ct:fail(no_acknowledgement)
    end.

write_slices(Records, Tag) ->
    case ?NIF:insert_many(ours, Records, Tag) of
        {more, Rest} -> write_slices(Rest, Tag);
        wait -> ok
    end.

%% Carries out what the first has to send to the second, and what comes of that.
exchange(Effects, From, To) ->
    [exchange(flushed(?NIF:message(To, 1, Head, Body), To), To, From) || {send, 1, Head, Body} <- Effects],
    ok.

flushed({done, Effects}, _Handle) -> Effects;
flushed({more, Effects}, Handle) -> Effects ++ flushed(?NIF:work(Handle), Handle).

memory_stays_bounded_under_overwriting(_Config) ->
    [
        begin
            Handle = create(?TAB, Type),
            Write = fun(Round) -> [ok = ?NIF:insert(?TAB, {K, {Round, <<K:256>>}}, undefined) || K <- lists:seq(1, 20000)] end,
            _ = Write(0),
            #{memory := Before} = ?NIF:status(Handle),
            [Write(Round) || Round <- lists:seq(1, 20)],
            #{memory := After, size := 20000} = ?NIF:status(Handle),
            ct:pal("~p: ~b words, then ~b", [Type, Before, After]),
            ?assert(After < 1.6 * Before),
            ok = ?NIF:close(Handle)
        end
     || Type <- [set, ordered_set]
    ].

memory_comes_back_when_a_table_goes(_Config) ->
    Fill = fun(Type) ->
        Handle = create(memory_comes_back, Type),
        [ok = ?NIF:insert(memory_comes_back, {K, <<K:256>>, binary:copy(<<K:64>>, 20)}, undefined) || K <- lists:seq(1, 100000)],
        Handle
    end,
    Base = erlang:memory(total),
    [
        begin
            Handle = Fill(Type),
            Full = erlang:memory(total) - Base,
            ok = ?NIF:close(Handle),
            %% What is left of it a moment later is noise.
            wait_until(fun() -> erlang:garbage_collect(), erlang:memory(total) - Base < Full / 10 end, true)
        end
     || Type <- [set, ordered_set, set]
    ].

%% Pages and sub-tables are kept for tables to come, a reserve of chunks as well.
the_system_gets_memory_back(_Config) ->
    Fill = fun() ->
        Handle = create(given_back, set),
        [ok = ?NIF:insert(given_back, {K, lists:seq(1, 60)}, undefined) || K <- lists:seq(1, 100_000)],
        Handle
    end,
    %% Shells are there from now on.
    ok = ?NIF:close(Fill()),
    Handle = Fill(),
    Full = resident_kb(),
    ok = ?NIF:close(Handle),
    Records = 100_000 * (3 + 2 * 60) * 8 div 1024,
    wait_until(fun() -> Full - resident_kb() > Records * 3 div 4 end, true).
