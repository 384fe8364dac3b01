%%% How a piece of work is timed: in rounds, contender after contender, so that all of them share a noisy machine's moods.
%%% Many short rounds say more than a few long ones: most of them then fall between two interruptions, and the median is
%%% of those.
%%%
%%% A contender's work runs in a process that lives for one round, with a heap large enough for the work to cause few
%%% collections, and collected before it starts. What the work needs is made before and read from `persistent_term', where
%%% the collector does not look at it. The same loops, over the same keys and through the same kind of fun, time all
%%% contenders; so a loop's own cost, about ten nanoseconds, makes ratios look a little smaller than they are.
%%%
%%% Runs in the node under test. Not a judge: it returns figures by round, in nanoseconds for each operation.
-module(ferrets_bench_timing).

-export([rounds/2, rounds/3, timed/2, timed_callers/3, latencies/3]).
-export([aside/1, each/3, each_timed/3, each_timed/4, repeat/2]).
-export([percentile/2, chunks/2]).

-export_type([work/0, label/0]).

-type label() :: atom().
%% Returns how many operations it did in this round.
-type work() :: fun((Round :: non_neg_integer()) -> pos_integer()).

%% Words. Eight megabytes: what a look-up returns is garbage at once.
-define(HEAP_WORDS, 1_000_000).

%% One round more than asked for is run: the first, of number 0, warms up, and is thrown away.
-spec rounds(pos_integer(), [{label(), work()}]) -> [{label(), [number()]}].
rounds(Count, Works) ->
    run_rounds(Count, Works, fun(Round, Label, Work) -> timed(Label, fun() -> Work(Round) end) end).

%% The same for work that is timed in another way.
-spec rounds(pos_integer(), [{label(), Work}], fun((label(), Work) -> Figure)) -> [{label(), [Figure]}].
rounds(Count, Works, Timer) ->
    run_rounds(Count, Works, fun(_Round, Label, Work) -> Timer(Label, Work) end).

-spec run_rounds(pos_integer(), [{label(), Work}], fun((non_neg_integer(), label(), Work) -> Figure)) ->
    [{label(), [Figure]}].
run_rounds(Count, Works, Timer) ->
    [_WarmUp | Rounds] = [[Timer(Round, Label, Work) || {Label, Work} <- Works] || Round <- lists:seq(0, Count)],
    [{Label, [lists:nth(N, Round) || Round <- Rounds]} || {N, {Label, _}} <- lists:zip(lists:seq(1, length(Works)), Works)].

%% Nanoseconds for each operation, in one process.
-spec timed(label(), fun(() -> pos_integer())) -> float().
timed(Label, Work) ->
    in_process(Label, fun() ->
        Start = erlang:monotonic_time(),
        Count = Work(),
        Time = erlang:monotonic_time() - Start,
        erlang:convert_time_unit(Time, native, nanosecond) / Count
    end).

%% Nanoseconds for each operation of many callers at once: from when they are let go until the last of them is done. Each
%% does its own part of the work.
-spec timed_callers(label(), [fun(() -> term())], pos_integer()) -> float().
timed_callers(Label, Parts, Operations) ->
    {Time, _} = run_callers(Label, Parts),
    Time / Operations.

%% The same, each caller returning what it saw: how long its calls took, say.
-spec latencies(label(), [fun(() -> Seen)], pos_integer()) -> {NsEach :: float(), [Seen]}.
latencies(Label, Parts, Operations) ->
    {Time, Seen} = run_callers(Label, Parts),
    {Time / Operations, Seen}.

-spec run_callers(label(), [fun(() -> Seen)]) -> {Ns :: integer(), [Seen]}.
run_callers(Label, Parts) ->
    in_process(Label, fun() ->
        Self = self(),
        Go = make_ref(),
        Callers = [spawn_monitor(fun() -> call_part(Label, Self, Go, Part) end) || Part <- Parts],
        [receive {Go, ready, Caller} -> ok end || {Caller, _} <- Callers],
        Start = erlang:monotonic_time(),
        [Caller ! Go || {Caller, _} <- Callers],
        Seen = [await_caller(Monitor) || {_, Monitor} <- Callers],
        {erlang:convert_time_unit(erlang:monotonic_time() - Start, native, nanosecond), Seen}
    end).

-spec call_part(label(), pid(), reference(), fun(() -> term())) -> no_return().
call_part(Label, Coordinator, Go, Part) ->
    ok = ferrets_bench_watch:claim(Label),
    Coordinator ! {Go, ready, self()},
    receive Go -> exit({done, Part()}) end.

-spec await_caller(reference()) -> term().
await_caller(Monitor) ->
    receive
        {'DOWN', Monitor, process, _, {done, Seen}} -> Seen;
        {'DOWN', Monitor, process, _, Reason} -> error({caller_failed, Reason})
    end.

-spec in_process(label(), fun(() -> Result)) -> Result.
in_process(Label, Fun) ->
    in_process(Label, ?HEAP_WORDS, Fun).

-spec in_process(label(), HeapWords :: pos_integer(), fun(() -> Result)) -> Result.
in_process(Label, HeapWords, Fun) ->
    {Pid, Monitor} = spawn_opt(
        fun() ->
            ok = ferrets_bench_watch:claim(Label),
            true = erlang:garbage_collect(),
            exit({done, Fun()})
        end,
        [monitor, {min_heap_size, HeapWords}, {min_bin_vheap_size, HeapWords}]
    ),
    receive
        {'DOWN', Monitor, process, Pid, {done, Result}} -> Result;
        {'DOWN', Monitor, process, Pid, Reason} -> error({work_failed, Label, Reason})
    end.

%% Has something done by a process of its own, whose garbage goes with it. If it fails, so does this.
-spec aside(fun(() -> term())) -> ok.
aside(Fun) ->
    {Pid, Monitor} = spawn_monitor(Fun),
    receive
        {'DOWN', Monitor, process, Pid, normal} -> ok;
        {'DOWN', Monitor, process, Pid, Reason} -> error({work_failed, Reason})
    end.

%% ---------------------------------------------------------------- loops

%% Calls `Fun(Tab, X)' for each of a list, and returns how many that were. What it returns is thrown away.
-spec each(fun((atom(), X) -> term()), atom(), [X]) -> non_neg_integer().
each(Fun, Tab, List) ->
    each(Fun, Tab, List, 0).

-spec each(fun((atom(), X) -> term()), atom(), [X], non_neg_integer()) -> non_neg_integer().
each(_Fun, _Tab, [], Count) ->
    Count;
each(Fun, Tab, [X | List], Count) ->
    _ = Fun(Tab, X),
    each(Fun, Tab, List, Count + 1).

%% The same, and returns how many nanoseconds each call took.
-spec each_timed(fun((atom(), X) -> term()), atom(), [X]) -> [integer()].
each_timed(Fun, Tab, List) ->
    [
        begin
            Start = erlang:monotonic_time(),
            _ = Fun(Tab, X),
            erlang:convert_time_unit(erlang:monotonic_time() - Start, native, nanosecond)
        end
     || X <- List
    ].

%% The same in a process that is never made to wait for another one's turn, and does not collect garbage meanwhile if a
%% call leaves less than a hundred words.
-spec each_timed(label(), fun((atom(), X) -> term()), atom(), [X]) -> [integer()].
each_timed(Label, Fun, Tab, List) ->
    in_process(Label, 100 * length(List), fun() ->
        _ = process_flag(priority, high),
        each_timed(Fun, Tab, List)
    end).

%% The sum of what a work says in so many runs.
-spec repeat(pos_integer(), fun(() -> pos_integer())) -> pos_integer().
repeat(1, Work) -> Work();
repeat(Times, Work) -> Work() + repeat(Times - 1, Work).

%% ---------------------------------------------------------------- lists

%% `percentile(0.99, List)'.
-spec percentile(float(), [number(), ...]) -> number().
percentile(Part, List) ->
    Sorted = lists:sort(List),
    lists:nth(max(1, ceil(Part * length(Sorted))), Sorted).

-spec chunks(pos_integer(), [X]) -> [[X]].
chunks(_Size, []) ->
    [];
chunks(Size, List) when length(List) =< Size ->
    [List];
chunks(Size, List) ->
    {Chunk, Rest} = lists:split(Size, List),
    [Chunk | chunks(Size, Rest)].
