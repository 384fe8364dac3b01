%%% Walks over a whole table, slice by slice.
%%%
%%% A walk is a loop in the caller's process over `ferrets_nif:scan/2', each call of which is short. It copies every
%%% record once, and is no snapshot: of what is written meanwhile it may show or miss anything, but a record that is there
%%% throughout is shown exactly once. Walks go in key order in an `ordered_set' and in no order otherwise.
-module(ferrets_walk).

-export([to_list/1, foldl/3, foldr/3, each_slice/2]).

-type scan() :: fun((ferrets_nif:position()) -> {[tuple()], ferrets_nif:position() | done}).

%% From the end, as a list grows at its front: to append slices would hold a scheduler for longer than all else.
-spec to_list(atom()) -> [tuple()].
to_list(Tab) ->
    to_list(Tab, start, []).

-spec to_list(atom(), ferrets_nif:position(), [tuple()]) -> [tuple()].
to_list(Tab, Position, Later) ->
    case ferrets_nif:scan_back(Tab, Position, Later) of
        {Records, done} -> Records;
        {Records, Next} -> to_list(Tab, Next, Records)
    end.

-spec foldl(fun((tuple(), Acc) -> Acc), Acc, atom()) -> Acc.
foldl(Fun, Acc, Tab) ->
    fold(fun(Records, Before) -> lists:foldl(Fun, Before, Records) end, Acc, fun(At) -> ferrets_nif:scan(Tab, At) end, start).

%% From the last record to the first, if the table has an order.
-spec foldr(fun((tuple(), Acc) -> Acc), Acc, atom()) -> Acc.
foldr(Fun, Acc, Tab) ->
    fold(fun(Records, Before) -> lists:foldr(Fun, Before, Records) end, Acc, fun(At) -> ferrets_nif:scan_back(Tab, At, []) end, start).

%% Shows the records a list at a time.
-spec each_slice(fun(([tuple()]) -> term()), atom()) -> ok.
each_slice(Fun, Tab) ->
    Show = fun(Records, ok) ->
        _ = Fun(Records),
        ok
    end,
    fold(Show, ok, fun(At) -> ferrets_nif:scan(Tab, At) end, start).

-spec fold(fun(([tuple()], Acc) -> Acc), Acc, scan(), ferrets_nif:position()) -> Acc.
fold(Use, Acc, Scan, Position) ->
    case Scan(Position) of
        {Records, done} -> Use(Records, Acc);
        {Records, Next} -> fold(Use, Use(Records, Acc), Scan, Next)
    end.
