-module(consumer).

-export([run/0]).

%% Starts a table, writes a record and reads it back.
-spec run() -> ok.
run() ->
    {ok, _} = application:ensure_all_started(ferrets),
    {ok, Pid} = ferrets:start(sessions, #{}),
    Record = {{<<"alice">>, <<"laptop">>}, self(), #{since => 1}},
    ok = ferrets:insert(sessions, Record),
    [Record] = ferrets:lookup(sessions, {<<"alice">>, <<"laptop">>}),
    ok = ferrets:stop(Pid),
    io:format("read back from Erlang~n").
