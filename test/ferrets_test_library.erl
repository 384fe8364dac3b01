%%% The native library as a table's server would call it, and what its suites look at besides.
-module(ferrets_test_library).

-export([settings/0, create/2, create/3, scan/1]).
-export([wait_until/2, resident_kb/0, peak_kb/0]).

-define(NIF, ferrets_nif).

%% ---------------------------------------------------------------- a table

-spec settings() -> ferrets_nif:settings().
settings() ->
    #{
        node => <<"test">>,
        tombstone_ttl_ms => 0,
        stall_timeout_ms => 30000,
        compare_interval_ms => 60000,
        asks_conflicts => false,
        drops_owned => false
    }.

-spec create(atom(), atom()) -> ferrets_nif:handle().
create(Tab, Type) ->
    create(Tab, Type, 1).

-spec create(atom(), atom(), pos_integer()) -> ferrets_nif:handle().
create(Tab, Type, KeyPos) ->
    {ok, Handle} = ?NIF:create(Tab, Type, KeyPos, settings()),
    Handle.

%% All records.
-spec scan(atom()) -> [tuple()].
scan(Tab) ->
    scan(Tab, start).

scan(Tab, Position) ->
    case ?NIF:scan(Tab, Position) of
        {Records, done} -> Records;
        {Records, Next} -> Records ++ scan(Tab, Next)
    end.

%% ---------------------------------------------------------------- a while later

%% Five seconds at most.
-spec wait_until(fun(() -> Value), Value) -> ok.
wait_until(Condition, Expected) ->
    wait_until(Condition, Expected, 500).

wait_until(Condition, Expected, Tries) ->
    case Condition() of
        Expected ->
            ok;
        _ when Tries > 0 ->
            receive
            after 10 -> wait_until(Condition, Expected, Tries - 1)
            end;
        Other ->
            error({still, Other})
    end.

%% ---------------------------------------------------------------- memory

%% Of this process; 0 where the system does not say.
-spec resident_kb() -> non_neg_integer().
resident_kb() ->
    status_kb("VmRSS").

%% The most that it ever was.
-spec peak_kb() -> non_neg_integer().
peak_kb() ->
    status_kb("VmHWM").

-spec status_kb(string()) -> non_neg_integer().
status_kb(Name) ->
    case file:read_file("/proc/self/status") of
        {ok, Status} ->
            {match, [Kb]} = re:run(Status, Name ++ ":\\s*([0-9]+) kB", [{capture, all_but_first, list}]),
            list_to_integer(Kb);
        {error, _} ->
            0
    end.
