%%% Walks over a whole table, slice by slice.
%%%
%%% A walk is a loop in the caller's process over `ferrets_nif:scan/2', each call of which is short. It copies every
%%% record once, and is no snapshot: of what is written meanwhile it may show or miss anything, but a record that is there
%%% throughout is shown exactly once. Walks go in key order in an `ordered_set' and in no order otherwise.
-module(ferrets_walk).

-export([to_list/1, foldl/3, foldr/3, each_slice/2]).

-type scan() :: fun((ferrets_nif:position()) -> {[tuple()], ferrets_nif:position() | done}).

-spec to_list(atom()) -> [tuple()].
to_list(Tab) ->
    gather(ferrets_nif:scan(Tab, start), Tab).

-spec gather({[tuple()], ferrets_nif:position() | done}, atom()) -> [tuple()].
gather({Records, done}, _Tab) -> Records;
gather({Records, Position}, Tab) -> Records ++ gather(ferrets_nif:scan(Tab, Position), Tab).

-spec foldl(fun((tuple(), Acc) -> Acc), Acc, atom()) -> Acc.
foldl(Fun, Acc, Tab) ->
    fold(Fun, Acc, fun(Position) -> ferrets_nif:scan(Tab, Position) end, start).

%% From the last record to the first, if the table has an order.
-spec foldr(fun((tuple(), Acc) -> Acc), Acc, atom()) -> Acc.
foldr(Fun, Acc, Tab) ->
    fold(Fun, Acc, fun(Position) -> ferrets_nif:scan_back(Tab, Position) end, start).

-spec fold(fun((tuple(), Acc) -> Acc), Acc, scan(), ferrets_nif:position()) -> Acc.
fold(Fun, Acc, Scan, Position) ->
    case Scan(Position) of
        {Records, done} -> lists:foldl(Fun, Acc, Records);
        {Records, Next} -> fold(Fun, lists:foldl(Fun, Acc, Records), Scan, Next)
    end.

%% Shows the records a list at a time.
-spec each_slice(fun(([tuple()]) -> term()), atom()) -> ok.
each_slice(Fun, Tab) ->
    each_slice(Fun, Tab, ferrets_nif:scan(Tab, start)).

-spec each_slice(fun(([tuple()]) -> term()), atom(), {[tuple()], ferrets_nif:position() | done}) -> ok.
each_slice(Fun, _Tab, {Records, done}) ->
    _ = Fun(Records),
    ok;
each_slice(Fun, Tab, {Records, Position}) ->
    _ = Fun(Records),
    each_slice(Fun, Tab, ferrets_nif:scan(Tab, Position)).
