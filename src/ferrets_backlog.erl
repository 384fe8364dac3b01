%%% Writes that the server carries out for callers: for those on other nodes, and during a pause for those on its own.
%%%
%%% A caller elsewhere cannot reach this node's library, so its server stands in for it, and names the caller's own alias as the
%%% one to be answered. A long list is checked and written in slices with other messages of the server in between, so
%%% that it holds up neither the peers nor a call. Writes are carried out one after the other in the order of their
%%% arrival: each caller's stay in its order.
%%%
%%% Not a limit: a backlog is as long as the callers make it, like the mailbox it came from.
-module(ferrets_backlog).

-export([new/0, is_empty/1, add/4, add_detour/4, work/2]).

-export_type([backlog/0, answer/0]).

-record(write, {
    tag :: ferrets_request:id(),
    op :: ferrets_write:op(),
    %% Sent here by the library because of a pause, which is to be told when it is done.
    is_detour = false :: boolean(),
    %% What is still to be checked, and everything; or what is still to be written.
    todo :: {check, Rest :: term(), Whole :: term()} | {apply, Rest :: term()}
}).

-opaque backlog() :: queue:queue(#write{}).
%% `later': nothing to say yet, or the library will name the tag once the peers have the write.
%% The last element: a detour has come to its end.
-type answer() :: {answer, ferrets_request:id(), ok | badarg, boolean()} | {later, boolean()}.

-spec new() -> backlog().
new() -> queue:new().

-spec is_empty(backlog()) -> boolean().
is_empty(Backlog) -> queue:is_empty(Backlog).

-spec add(ferrets_request:id(), ferrets_write:op(), term(), backlog()) -> backlog().
add(Tag, Op, Argument, Backlog) ->
    queue:in(#write{tag = Tag, op = Op, todo = {check, Argument, Argument}}, Backlog).

%% What the library has checked already.
-spec add_detour(ferrets_request:id(), ferrets_write:op(), term(), backlog()) -> backlog().
add_detour(Tag, Op, List, Backlog) ->
    queue:in(#write{tag = Tag, op = Op, is_detour = true, todo = {apply, List}}, Backlog).

%% Carries out a slice of the oldest write.
-spec work(atom(), backlog()) -> {answer(), backlog()}.
work(Tab, Backlog) ->
    {{value, #write{tag = Tag, is_detour = IsDetour} = Write}, Others} = queue:out(Backlog),
    try slice(Tab, Write) of
        {todo, Todo} -> {{later, false}, queue:in_r(Write#write{todo = Todo}, Others)};
        wait -> {{later, IsDetour}, Others};
        ok -> {{answer, Tag, ok, IsDetour}, Others}
    catch
        error:badarg -> {{answer, Tag, badarg, IsDetour}, Others}
    end.

-spec slice(atom(), #write{}) -> {todo, {check, term(), term()} | {apply, term()}} | wait | ok.
slice(Tab, #write{op = Op, todo = {check, Rest, Whole}} = Write) ->
    case ferrets_write:check_slice(Tab, Op, Rest) of
        ok -> slice(Tab, Write#write{todo = {apply, Whole}});
        {more, More} -> {todo, {check, More, Whole}}
    end;
slice(Tab, #write{tag = Tag, op = Op, todo = {apply, Rest}}) ->
    case ferrets_write:apply_slice(Tab, Op, Rest, Tag) of
        {more, More} -> {todo, {apply, More}};
        ok -> ok;
        wait -> wait
    end.
