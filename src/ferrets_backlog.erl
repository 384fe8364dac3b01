%%% Writes that the server carries out for callers on other nodes.
%%%
%%% The caller cannot reach this node's library, so its server stands in for it, and names the caller's own alias as the
%%% one to be answered. A long list is checked and written in slices with other messages of the server in between, so
%%% that it holds up neither the peers nor a call. Writes are carried out one after the other in the order of their
%%% arrival: each caller's stay in its order.
%%%
%%% Not a limit: a backlog is as long as the callers make it, like the mailbox it came from.
-module(ferrets_backlog).

-export([new/0, is_empty/1, add/4, work/2]).

-export_type([backlog/0, answer/0]).

-record(write, {
    tag :: ferrets_request:id(),
    op :: ferrets_write:op(),
    %% What is still to be checked, and everything; or what is still to be written.
    todo :: {check, Rest :: term(), Whole :: term()} | {apply, Rest :: term()}
}).

-opaque backlog() :: queue:queue(#write{}).
%% `later': nothing to say yet, or the library will name the tag once the peers have the write.
-type answer() :: {answer, ferrets_request:id(), ok | badarg} | later.

-spec new() -> backlog().
new() -> queue:new().

-spec is_empty(backlog()) -> boolean().
is_empty(Backlog) -> queue:is_empty(Backlog).

-spec add(ferrets_request:id(), ferrets_write:op(), term(), backlog()) -> backlog().
add(Tag, Op, Argument, Backlog) ->
    queue:in(#write{tag = Tag, op = Op, todo = {check, Argument, Argument}}, Backlog).

%% Carries out a slice of the oldest write.
-spec work(atom(), backlog()) -> {answer(), backlog()}.
work(Tab, Backlog) ->
    {{value, Write}, Others} = queue:out(Backlog),
    try slice(Tab, Write) of
        {todo, Todo} -> {later, queue:in_r(Write#write{todo = Todo}, Others)};
        wait -> {later, Others};
        ok -> {{answer, Write#write.tag, ok}, Others}
    catch
        error:badarg -> {{answer, Write#write.tag, badarg}, Others}
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
