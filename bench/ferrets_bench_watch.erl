%%% Watches for processes that hold a scheduler, in the node under test, while everything else is measured.
%%%
%%% The VM itself reports (`long_schedule') whoever was not scheduled out for a millisecond or more. That counts wall
%%% time, so on a machine that others use as well anybody may be reported; hence the same is counted for all contenders,
%%% by whose process it was. A garbage collection is no call: its time (`long_gc') is taken off.
%%%
%%% Not precise below a millisecond: the VM counts whole ones.
-module(ferrets_bench_watch).

-export([start/0, claim/1, claim/2, forget/0, events/0]).

-export_type([event/0]).

-type event() :: #{label := ferrets_bench_timing:label(), ms := pos_integer(), in := term(), out := term()}.

-define(OWNERS, ?MODULE).

-spec start() -> ok.
start() ->
    Self = self(),
    Watcher = spawn(fun() ->
        ?OWNERS = ets:new(?OWNERS, [named_table, public, {write_concurrency, true}]),
        true = register(?MODULE, self()),
        Self ! {self(), started},
        watch([], #{})
    end),
    receive {Watcher, started} -> ok end,
    _ = erlang:system_monitor(Watcher, [{long_schedule, 1}, {long_gc, 1}]),
    ok.

%% From now on the calling process counts as this contender's. Also where nobody watches.
-spec claim(ferrets_bench_timing:label()) -> ok.
claim(Label) ->
    claim(self(), Label).

-spec claim(pid(), ferrets_bench_timing:label()) -> ok.
claim(Pid, Label) ->
    case whereis(?MODULE) of
        undefined ->
            ok;
        _ ->
            true = ets:insert(?OWNERS, {Pid, Label}),
            ok
    end.

-spec forget() -> ok.
forget() ->
    ?MODULE ! forget,
    ok.

%% What has been seen, of processes that someone claimed.
-spec events() -> [event()].
events() ->
    ?MODULE ! {events, self()},
    receive {?MODULE, Events} -> Events end.

-spec watch([event()], #{pid() => pos_integer()}) -> no_return().
watch(Events, Collected) ->
    receive
        {monitor, Pid, long_gc, Info} ->
            Ms = proplists:get_value(timeout, Info),
            watch(Events, maps:update_with(Pid, fun(Before) -> Before + Ms end, Ms, Collected));
        {monitor, Pid, long_schedule, Info} when is_pid(Pid) ->
            %% The VM rounds both.
            Ms = proplists:get_value(timeout, Info) - maps:get(Pid, Collected, 0),
            New = [event(Label, Ms, Info) || Ms > 0, {_, Label} <- ets:lookup(?OWNERS, Pid)],
            watch(New ++ Events, maps:remove(Pid, Collected));
        {monitor, _Port, long_schedule, _} ->
            watch(Events, Collected);
        forget ->
            watch([], #{});
        {events, From} ->
            From ! {?MODULE, Events},
            watch(Events, Collected)
    end.

-spec event(ferrets_bench_timing:label(), pos_integer(), [{atom(), term()}]) -> event().
event(Label, Ms, Info) ->
    #{label => Label, ms => Ms, in => proplists:get_value(in, Info), out => proplists:get_value(out, Info)}.
