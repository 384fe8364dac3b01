%%% Readers beside writers, a table of each type for half a minute: nothing is torn, missing or shown twice, no call holds a
%%% scheduler, and memory stays what it was.
%%%
%%% `FERRETS_STRESS_S=N' sets how many seconds it takes in all. A table lives through some rounds. After each, as many workers
%%% as before write to small `ets' tables of their own: that is the control, for on a machine that others use as well
%%% any process looks as if it held its scheduler.
%%%
%%% Records bear their stamp more than once, so that a torn one shows. Every tenth key stays: its record is overwritten (in a
%%% `bag', others come and go beside it) and never deleted, so every look-up finds it, and every walk shows it once.
%%%
%%% Seen to be caught: records written in two steps; a look-up that does not look again when its record has moved; slices a
%%% hundred times as long; pages that are never compacted; an arena freed at once when its page has another. Not seen here, for they need luck: a walk that trusts an order or an
%%% index that has changed under it.
-module(ferrets_stress_SUITE).

-include_lib("stdlib/include/assert.hrl").

-compile(export_all).

-define(TAB, ?MODULE).
-define(SECONDS, 60).
-define(ROUNDS, 4).
-define(KEYS, 20_000).
-define(RANGE_MAX, 3000).
-define(LIST_MAX, 200).
-define(STAMPS, 1_000_000).
%% Of what stays in a bag; no other record has it.
-define(FIRST_STAMP, 1_000_015).

all() ->
    [a_record_is_copied_whole_while_its_arena_is_replaced | [{group, Type} || Type <- prop_ets:types()]].

groups() ->
    Cases = [no_record_is_torn_missing_or_shown_twice, no_call_holds_a_scheduler, memory_stays_flat],
    [{Type, [], Cases} || Type <- prop_ets:types()].

init_per_suite(Config) ->
    Config.

end_per_suite(_Config) ->
    ok.

%% The cases of a group look at one run.
init_per_group(Type, Config) ->
    {ok, Server} = ferrets:start(?TAB, #{type => Type, tombstone_ttl => 500}),
    ok = ferrets:insert_many(?TAB, [permanent(Key) || Key <- stay()]),
    RoundMs = seconds() * 1000 div (length(prop_ets:types()) * ?ROUNDS * 2),
    Control = [{Name, Kind, fun spin/1} || {Name, Kind, _} <- workers()],
    Rounds = [{round(Type, workers(), RoundMs), round(Type, Control, RoundMs), memory()} || _ <- lists:seq(1, ?ROUNDS)],
    ok = ferrets:stop(Server),
    [{rounds, Rounds} | Config].

end_per_group(_Type, _Config) ->
    ok.

seconds() ->
    list_to_integer(os:getenv("FERRETS_STRESS_S", integer_to_list(?SECONDS))).

%% ---------------------------------------------------------------- large records

%% Each write of so large a record has the page's arena replaced, and each look-up takes about as long: so most arenas are taken
%% away while somebody copies out of them.
a_record_is_copied_whole_while_its_arena_is_replaced(_Config) ->
    Tab = large_records,
    {ok, Server} = ferrets:start(Tab, #{type => set}),
    ok = ferrets:insert(Tab, large(0)),
    Writer = spawn_link(fun() -> write_large(Tab, 1) end),
    Until = erlang:monotonic_time(millisecond) + 3000,
    Readers = [spawn_monitor(fun() -> exit({read, read_whole(Tab, Until, 0)}) end) || _ <- lists:seq(1, 2)],
    Counts = [receive {'DOWN', Monitor, process, _, Result} -> Result end || {_, Monitor} <- Readers],
    [#{garbage := _, size := 1}] = [ferrets:info(Tab)],
    true = unlink(Writer),
    true = exit(Writer, kill),
    ok = ferrets:stop(Server),
    ct:pal("~p", [Counts]),
    [?assertMatch({read, Count} when Count > 1000, Result) || Result <- Counts].

large(Stamp) ->
    {key, [[Stamp, {Stamp, <<Stamp:64>>}, Stamp, Stamp] || _ <- lists:seq(1, 150)]}.

write_large(Tab, Stamp) ->
    ok = ferrets:insert(Tab, large(Stamp)),
    write_large(Tab, Stamp + 1).

%% How often.
read_whole(Tab, Until, Count) ->
    [{key, [[Stamp | _] | _]} = Record] = ferrets:lookup(Tab, key),
    Record =:= large(Stamp) orelse exit({torn, Record}),
    case erlang:monotonic_time(millisecond) < Until of
        true -> read_whole(Tab, Until, Count + 1);
        false -> Count
    end.

%% ---------------------------------------------------------------- verdicts

no_record_is_torn_missing_or_shown_twice(Config) ->
    Results = [Ours || {Ours, _, _} <- proplists:get_value(rounds, Config)],
    ct:pal("passes of each worker: ~p", [[Passes || #{passes := Passes} <- Results]]),
    ?assertEqual([], lists:append([Failures || #{failures := Failures} <- Results])),
    %% Nobody starved.
    [?assert(lists:all(fun(Count) -> Count > 0 end, maps:values(Passes))) || #{passes := Passes} <- Results].

%% Others' load comes and goes, and it hits the control as well, though not as hard: the control's stays are shorter to begin
%% with. In a worker that makes long calls nearly all stays are long, in every round.
no_call_holds_a_scheduler(Config) ->
    Rounds = [
        {Ours, control_share(Control)}
     || {#{stays := Ours}, #{stays := Control}, _} <- proplists:get_value(rounds, Config)
    ],
    Names = [server | [Name || {Name, watched, _} <- workers()]],
    Shares = [{Name, [{share(map_get(Name, Ours)), Control} || {Ours, Control} <- Rounds]} || Name <- Names],
    ct:pal("per cent of stays on a scheduler that were long, and the control's, in each round:~n~p", [Shares]),
    ?assertEqual([], [Name || {Name, Pairs} <- Shares, lists:all(fun is_too_often/1, Pairs)]).

is_too_often({Ours, Control}) ->
    Ours > 4 * Control + 20.

control_share(Stays) ->
    {All, Long} = lists:unzip([map_get(Name, Stays) || {Name, watched, _} <- workers()]),
    share({lists:sum(All), lists:sum(Long)}).

share({0, 0}) -> 0.0;
share({All, Long}) -> round(1000 * Long / All) / 10.

%% From the first quarter on. The same records are in the table whenever it is measured.
memory_stays_flat(Config) ->
    Measured = [Memory || {_, _, Memory} <- proplists:get_value(rounds, Config)],
    ct:pal("memory after each round: ~p", [Measured]),
    {#{words := Words, resident_kb := Resident}, #{words := LastWords, resident_kb := LastResident}} =
        {hd(Measured), lists:last(Measured)},
    ?assert(LastWords < 1.3 * Words),
    %% The VM's own heaps are in it, and the control's.
    ?assert(LastResident < 1.2 * Resident + 50_000).

%% ---------------------------------------------------------------- a round

%% What the workers came to, by their names; what was wrong; how often each was on a scheduler, and how often for over a
%% millisecond.
round(Type, Workers, Ms) ->
    Until = erlang:monotonic_time(millisecond) + Ms,
    Working = [{spawn_monitor(fun() -> start_work(Pass, Type, Until) end), Name, Kind} || {Name, Kind, Pass} <- Workers],
    Watched = [{whereis(?TAB), server} | [{Pid, Name} || {{Pid, _}, Name, watched} <- Working]],
    Watcher = spawn_link(fun() -> watch(maps:from_list([{Pid, {0, 0}} || {Pid, _} <- Watched]), #{}) end),
    _ = [erlang:trace(Pid, true, [running, monotonic_timestamp, {tracer, Watcher}]) || {Pid, _} <- Watched],
    _ = [Pid ! start || {{Pid, _}, _, _} <- Working],
    Ends = [
        receive
            {'DOWN', Monitor, process, Pid, Reason} -> {Name, Reason}
        end
     || {{Pid, Monitor}, Name, _} <- Working
    ],
    _ = erlang:trace(whereis(?TAB), false, [running]),
    Watcher ! {tell, self()},
    Stays =
        receive
            {Watcher, Counts} -> Counts
        end,
    #{
        passes => maps:from_list([{Name, Count} || {Name, {done, Count}} <- Ends]),
        failures => [End || {_, Reason} = End <- Ends, not is_tuple(Reason) orelse element(1, Reason) =/= done],
        stays => maps:from_list([{Name, map_get(Pid, Stays)} || {Pid, Name} <- Watched])
    }.

%% Takes the time of each stay on a scheduler. `long_schedule' would tell of the long ones alone, and not of how many.
watch(Stays, Since) ->
    receive
        {trace_ts, Pid, in, _, Time} ->
            watch(Stays, Since#{Pid => Time});
        {trace_ts, Pid, out, _, Time} when is_map_key(Pid, Since) ->
            Ms = erlang:convert_time_unit(Time - map_get(Pid, Since), native, millisecond),
            Count = fun({All, Long}) -> {All + 1, Long + min(Ms, 1)} end,
            watch(maps:update_with(Pid, Count, Stays), maps:remove(Pid, Since));
        {tell, Asker} ->
            Asker ! {self(), Stays};
        _ ->
            watch(Stays, Since)
    end.

start_work(Pass, Type, Until) ->
    receive
        start -> work(Pass, Type, Until, 0)
    end.

work(Pass, Type, Until, Count) ->
    Pass(Type),
    case erlang:monotonic_time(millisecond) of
        Now when Now < Until -> work(Pass, Type, Until, Count + 1);
        _ -> exit({done, Count + 1})
    end.

%% Those who gather whole tables on their heaps are not watched: they stay on a scheduler to collect garbage.
workers() ->
    [
        {writer_1, watched, fun write/1},
        {writer_2, watched, fun write/1},
        {looking_up, watched, fun look_up/1},
        {stepping, watched, fun step/1},
        {skimming, watched, fun skim/1},
        {walking, not_watched, fun walk/1},
        {folding, not_watched, fun fold/1},
        {dumping, not_watched, fun dump/1}
    ].

spin(_Type) ->
    Tab = ets:new(control, [ordered_set]),
    [ets:insert(Tab, {rand:uniform(1000), N}) || N <- lists:seq(1, 1000)],
    ets:delete(Tab).

memory() ->
    Passing = [Key || Key <- lists:seq(0, ?KEYS), not stays(Key)],
    ok = ferrets:delete_many(?TAB, Passing),
    ok = ferrets:insert_many(?TAB, [record(Key) || Key <- Passing]),
    _ = [erlang:garbage_collect(Pid) || Pid <- processes()],
    #{memory := Words} = ferrets:info(?TAB),
    #{words => Words, resident_kb => ferrets_test_library:resident_kb()}.

%% ---------------------------------------------------------------- writers

write(Type) ->
    Some = [some_key() || _ <- lists:seq(1, 100)],
    %% Long enough for pages to fill up and to empty.
    From = rand:uniform(?KEYS - ?RANGE_MAX),
    Range = lists:seq(From, From + rand:uniform(?RANGE_MAX)),
    case rand:uniform(6) of
        1 -> [overwrite(Type, Key - Key rem 10) || Key <- Some];
        2 -> [ok = ferrets:insert(?TAB, record(Key)) || Key <- Some, not stays(Key)];
        3 -> [ok = ferrets:delete(?TAB, Key) || Key <- Some, not stays(Key)];
        4 -> insert_all([Key || Key <- Range, Type =/= bag orelse not stays(Key)]);
        5 -> ok = ferrets:delete_many(?TAB, [Key || Key <- Range, not stays(Key)]);
        6 -> [ok = ferrets:delete_object(?TAB, Record) || Key <- Some, not stays(Key), Record <- ferrets:lookup(?TAB, Key)]
    end.

%% Not all at once: a writer that collects much garbage looks like one that is held up.
insert_all(Keys) when length(Keys) > ?LIST_MAX ->
    {First, Others} = lists:split(?LIST_MAX, Keys),
    insert_all(First),
    insert_all(Others);
insert_all(Keys) ->
    ok = ferrets:insert_many(?TAB, [record(Key) || Key <- Keys]).

%% In a bag, what stays is left alone, and something comes and goes beside it.
overwrite(Type, Key) ->
    Record = record(Key),
    ok = ferrets:insert(?TAB, Record),
    Type =/= bag orelse ferrets:delete_object(?TAB, Record).

%% Every second time one of a few, where readers and writers meet.
some_key() ->
    case rand:uniform(2) of
        1 -> rand:uniform(30);
        2 -> rand:uniform(?KEYS)
    end.

%% ---------------------------------------------------------------- readers

look_up(Type) ->
    [look_up(Type, some_key()) || _ <- lists:seq(1, 200)].

look_up(Type, Key) ->
    Records = ferrets:lookup(?TAB, Key),
    lists:foreach(fun check/1, Records),
    [] =:= [Record || Record <- Records, element(1, Record) =/= Key] orelse error({of_another_key, Key, Records}),
    not stays(Key) orelse check_once(Type, [Key], Records).

step(_Type) ->
    step_on(ferrets:first(?TAB), 500).

step_on(Key, Steps) when Steps =:= 0; Key =:= '$end_of_table'; Key =:= gone -> ok;
step_on(Key, Steps) -> step_on(go(next, Key), Steps - 1).

skim(_Type) ->
    ferrets_walk:each_slice(fun(_) -> ok end, ?TAB).

walk(Type) ->
    check_walk(Type, walk_on(next, ferrets:first(?TAB))),
    Type =:= ordered_set andalso check_walk(Type, lists:reverse(walk_on(prev, ferrets:last(?TAB)))).

walk_on(_Step, '$end_of_table') -> [];
walk_on(_Step, gone) -> [gone];
walk_on(Step, Key) -> [Key | walk_on(Step, go(Step, Key))].

%% But in an `ordered_set', a key that goes under way ends the walk, as in `ets'.
go(Step, Key) ->
    try
        ferrets:Step(?TAB, Key)
    catch
        error:badarg -> gone
    end.

fold(Type) ->
    check_all(Type, lists:reverse(ferrets:foldl(fun(Record, Records) -> [Record | Records] end, [], ?TAB))).

dump(Type) ->
    check_all(Type, ferrets:tab2list(?TAB)).

%% ---------------------------------------------------------------- records

%% The stamp decides what the body is, short or long.
record(Key) ->
    stamped(Key, rand:uniform(?STAMPS)).

permanent(Key) ->
    stamped(Key, ?FIRST_STAMP).

stamped(Key, Stamp) ->
    {Key, Stamp, body(Stamp rem 16, Stamp), Stamp}.

body(0, Stamp) -> lists:duplicate(500, Stamp);
body(1, Stamp) -> binary:copy(<<Stamp:64>>, 20);
body(N, Stamp) when N < 6 -> binary:copy(<<Stamp:64>>, 4);
body(N, Stamp) when N < 10 -> lists:duplicate(20, Stamp);
body(_, Stamp) -> {Stamp, [Stamp], #{stamp => Stamp}}.

check({_, Stamp, Body, Stamp} = Record) ->
    Body =:= body(Stamp rem 16, Stamp) orelse error({torn, Record});
check(Record) ->
    error({torn, Record}).

stays(Key) ->
    Key rem 10 =:= 0.

stay() ->
    lists:seq(0, ?KEYS, 10).

check_all(Type, Records) ->
    lists:foreach(fun check/1, Records),
    check_once(Type, stay(), Records).

%% Whether each of the keys that stay has its record, once; in a bag, the one that was there first.
check_once(Type, Keys, Records) ->
    check_keys(Type, Keys, [Key || {Key, Stamp, _, _} <- Records, stays(Key), Type =/= bag orelse Stamp =:= ?FIRST_STAMP]).

check_walk(Type, Keys) ->
    Stay = [Key || Key <- Keys, is_integer(Key), stays(Key)],
    case lists:member(gone, Keys) of
        true -> length(Stay) =:= length(lists:usort(Stay)) orelse error({twice, Stay -- lists:usort(Stay)});
        false -> check_keys(Type, stay(), Stay)
    end.

check_keys(ordered_set, Keys, Found) ->
    Keys =:= Found orelse error({lost, Keys -- Found, too_often, Found -- Keys, out_of_order, Found =/= lists:sort(Found)});
check_keys(_Type, Keys, Found) ->
    Keys =:= lists:sort(Found) orelse error({lost, Keys -- Found, too_often, Found -- Keys}).
