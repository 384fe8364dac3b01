%%% Runs in each node of the demo: processes that read, and processes that write and keep account of what they were
%%% promised.
%%%
%%% A writer changes its own rows in turn, with a number that grows. Only when `ferrets:insert/2' has returned `ok' it
%%% tells the ledger, which runs on a node that stays alive: so the ledger never holds more than was acknowledged.
-module(ferrets_demo_load).

-export([start_reader/1, stop_reader/1]).
-export([start_ledger/0, ledger_count/1, ledger_entries/1]).
-export([start_writers/2, stop_writers/1, count_missing/1]).

-type key() :: ferrets_demo_session:key().

-define(TABLE, sessions).
-define(ROWS_PER_WRITER, 20).

%% ---------------------------------------------------------------- readers

%% Looks these users up, one after the other, round and round.
-spec start_reader([key()]) -> pid().
start_reader(Keys) ->
    spawn(fun() -> read(Keys, Keys, 0, 0) end).

-spec stop_reader(pid()) -> {Lookups :: non_neg_integer(), Found :: non_neg_integer()}.
stop_reader(Reader) ->
    Reader ! {stop, self()},
    receive {read, Reader, Lookups, Found} -> {Lookups, Found} end.

-spec read([key()], [key()], non_neg_integer(), non_neg_integer()) -> term().
read([], All, Lookups, Found) ->
    receive
        {stop, From} -> From ! {read, self(), Lookups, Found}
    after 0 ->
        read(All, All, Lookups, Found)
    end;
read([Key | Keys], All, Lookups, Found) ->
    read(Keys, All, Lookups + 1, Found + length(ferrets:lookup(?TABLE, Key))).

%% ---------------------------------------------------------------- the ledger

-spec start_ledger() -> pid().
start_ledger() ->
    spawn(fun() -> ledger(0, #{}) end).

-spec ledger_count(pid()) -> non_neg_integer().
ledger_count(Ledger) ->
    Ledger ! {count, self()},
    receive {count, Ledger, Count} -> Count end.

%% The last acknowledged number of each row.
-spec ledger_entries(pid()) -> #{key() => pos_integer()}.
ledger_entries(Ledger) ->
    Ledger ! {entries, self()},
    receive {entries, Ledger, Entries} -> Entries end.

-spec ledger(non_neg_integer(), map()) -> no_return().
ledger(Count, Entries) ->
    receive
        {acknowledged, Key, Number} ->
            ledger(Count + 1, Entries#{Key => Number});
        {count, From} ->
            From ! {count, self(), Count},
            ledger(Count, Entries);
        {entries, From} ->
            From ! {entries, self(), Entries},
            ledger(Count, Entries)
    end.

%% How many rows of this node's table are older than what was acknowledged, or not there.
-spec count_missing(#{key() => pos_integer()}) -> non_neg_integer().
count_missing(Entries) ->
    length([Key || {Key, Number} <- maps:to_list(Entries), number_of(Key) < Number]).

-spec number_of(key()) -> non_neg_integer().
number_of(Key) ->
    case ferrets:lookup(?TABLE, Key) of
        [{Key, _Pid, #{number := Number}}] -> Number;
        _ -> 0
    end.

%% ---------------------------------------------------------------- writers

%% One writer for each 20 of these users.
-spec start_writers([key()], Ledger :: pid()) -> [pid()].
start_writers([], _Ledger) ->
    [];
start_writers(Keys, Ledger) ->
    {Mine, Others} = lists:split(min(?ROWS_PER_WRITER, length(Keys)), Keys),
    [spawn(fun() -> write(Mine, Mine, 1, Ledger, 0) end) | start_writers(Others, Ledger)].

%% The longest that one of them waited for one write, in milliseconds.
-spec stop_writers([pid()]) -> float().
stop_writers(Writers) ->
    [Writer ! {stop, self()} || Writer <- Writers],
    Longest = lists:max([receive {longest_wait, Writer, Wait} -> Wait end || Writer <- Writers]),
    erlang:convert_time_unit(Longest, native, microsecond) / 1000.

-spec write([key()], [key()], pos_integer(), pid(), non_neg_integer()) -> term().
write([], All, Number, Ledger, Longest) ->
    write(All, All, Number + 1, Ledger, Longest);
write([Key | Keys], All, Number, Ledger, Longest) ->
    Start = erlang:monotonic_time(),
    ok = ferrets:insert(?TABLE, {Key, self(), #{number => Number}}),
    Wait = erlang:monotonic_time() - Start,
    Ledger ! {acknowledged, Key, Number},
    receive
        {stop, From} -> From ! {longest_wait, self(), max(Wait, Longest)}
    after 0 ->
        write(Keys, All, Number, Ledger, max(Wait, Longest))
    end.
