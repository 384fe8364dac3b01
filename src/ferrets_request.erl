%%% A question put to a table's server, and its answer, which may be long in coming.
%%%
%%% A request is known by a reference that is an alias of the asker and a monitor of the server at once: the answer
%%% `{[alias | Id], Answer}' comes through the alias from wherever it is made (the server answers when peers have
%%% acknowledged, not when it has read the request), and a server that dies gives a `DOWN'. Either of them ends the
%%% other, so nothing stray is left in the asker's mailbox. These are the messages of OTP's `gen', so that
%%% `gen_server:wait_response/2' understands them as well.
%%%
%%% Requests of one process to one server arrive in their order. A request to a node that is not connected connects.
-module(ferrets_request).

-export([open/1, send/2, close/1, answer/2, wait/2, wait_all/2]).

-export_type([id/0, answer/1, timeout_or_deadline/0]).

-type id() :: reference().
-type answer(Reply) :: {reply, Reply} | timeout | {error, {Reason :: term(), Server :: term()}}.
%% `{abs, Ms}' is a point in Erlang monotonic time, in milliseconds.
-type timeout_or_deadline() :: timeout() | {abs, integer()}.

%% A request of which the server does not know yet. A name that nobody holds gives a `DOWN' for it at once.
-spec open(pid() | atom()) -> id().
open(Server) ->
    erlang:monitor(process, Server, [{alias, reply_demonitor}]).

%% Asks the server itself.
-spec send(pid(), term()) -> id().
send(Server, Question) ->
    Id = open(Server),
    %% `noconnect': the monitor has started to connect already, and what is sent meanwhile is kept.
    _ = erlang:send(Server, {ferrets_request, Id, Question}, [noconnect]),
    Id.

%% Gives a request up: its answer will never arrive.
-spec close(id()) -> ok.
close(Id) ->
    true = erlang:demonitor(Id, [flush]),
    ok.

%% The asker may be gone, with its node or without: `noconnect', lest an answer to the dead should dial.
-spec answer(id(), term()) -> ok.
answer(Id, Answer) ->
    _ = erlang:send(Id, {[alias | Id], Answer}, [noconnect]),
    ok.

%% Waits for the answer. After `timeout' the request is still under way and may be waited for again.
-spec wait(id(), timeout()) -> answer(term()).
wait(Id, Timeout) ->
    receive
        {[alias | Id], {ferrets_refused, Reason, Server}} -> {error, {Reason, Server}};
        {[alias | Id], Reply} -> {reply, Reply};
        {'DOWN', Id, process, Server, Reason} -> {error, {Reason, Server}}
    after Timeout -> timeout
    end.

%% Waits for all of them until one common deadline; the answers are in the order of the requests.
-spec wait_all([id()], timeout_or_deadline()) -> [answer(term())].
wait_all(Ids, infinity) ->
    [wait(Id, infinity) || Id <- Ids];
wait_all(Ids, {abs, Deadline}) ->
    [wait(Id, max(0, Deadline - erlang:monotonic_time(millisecond))) || Id <- Ids];
wait_all(Ids, Timeout) ->
    wait_all(Ids, {abs, erlang:monotonic_time(millisecond) + Timeout}).
