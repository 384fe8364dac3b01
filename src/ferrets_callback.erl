%%% Runs the functions that users hand to a table.
%%%
%%% Each call gets a process of its own, because the server must survive whatever is in the function: one that hangs
%%% would hold up all replication, one that raises would take the table down, and one that calls the table would wait
%%% for the server, which waits for it. So calls have no order among each other, and nobody sees what they return.
-module(ferrets_callback).

-export([run/3]).

-include_lib("kernel/include/logger.hrl").

%% Calls `Fun(Argument)' and returns at once. An exception in it is logged under the option's name, and ends there.
-spec run(Option :: atom(), fun((map()) -> term()), Argument :: map()) -> ok.
run(Option, Fun, Argument) ->
    _ = spawn(fun() -> call(Option, Fun, Argument) end),
    ok.

-spec call(atom(), fun((map()) -> term()), map()) -> term().
call(Option, Fun, Argument) ->
    try
        Fun(Argument)
    catch
        Class:Reason:Stack ->
            ?LOG_ERROR(#{
                what => ferrets_callback_failed,
                option => Option,
                argument => Argument,
                class => Class,
                reason => Reason,
                stacktrace => Stack
            })
    end.
