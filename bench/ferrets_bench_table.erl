%%% The contenders: who can hold a table, and by which calls it is used.
%%%
%%% - `ferrets', and `cets' if it was given;
%%% - `ets', as named public tables, as cets has them;
%%% - `server': a gen_server that owns an `ets' table and inserts for its callers, which is how far one gets on one node in
%%%   an afternoon. It replicates nothing;
%%% - `mnesia', dirty, with its table in memory: `mnesia' returns when this node has the write, `mnesia_sync' when all have.
%%%
%%% A call is a fun of the table's name and an argument, the same for all. Where a contender has a function of that shape
%%% it is that function itself, and no wrapper costs it anything.
%%%
%%% Runs in the nodes under test. Tables are named after what they hold.
-module(ferrets_bench_table).

-behaviour(gen_server).

-export([open/3, open/4, close/2, filled/4, fill/4]).
-export([call/2, title/1, is_built/2]).
-export([init/1, handle_call/3, handle_cast/2]).

-export_type([contender/0, call/0]).

-type contender() :: ferrets | ets | server | mnesia | mnesia_sync | cets.
-type call() :: fun((atom(), term()) -> term()).
-type type() :: set | ordered_set.

-define(CHUNK, 1_000).

%% ---------------------------------------------------------------- a table's life

-spec open(contender(), atom(), type()) -> ok.
open(Contender, Tab, Type) ->
    open(Contender, Tab, Type, #{}).

%% For `ferrets' with further options.
-spec open(contender(), atom(), type(), map()) -> ok.
open(ferrets, Tab, Type, Options) ->
    {ok, _} = application:ensure_all_started(ferrets),
    {ok, _} = ferrets:start(Tab, Options#{type => Type}),
    ferrets_bench_watch:claim(whereis(Tab), ferrets);
open(cets, Tab, Type, _) ->
    {ok, Pid} = cets:start(Tab, #{type => Type}),
    ferrets_bench_watch:claim(Pid, cets);
open(Contender, Tab, Type, _) when Contender =:= mnesia; Contender =:= mnesia_sync ->
    ok = mnesia:start(),
    {atomic, ok} = mnesia:create_table(Tab, [
        {type, Type}, {ram_copies, [node()]}, {attributes, [key, value]}, {record_name, record}
    ]),
    ok;
open(Contender, Tab, Type, _) when Contender =:= ets; Contender =:= server ->
    %% Also where `ets' is used bare: the table must have an owner that stays.
    {ok, Pid} = gen_server:start({local, Tab}, ?MODULE, {Tab, Type}, []),
    ferrets_bench_watch:claim(Pid, Contender).

-spec close(contender(), atom()) -> ok.
close(ferrets, Tab) ->
    ferrets:stop(Tab);
close(cets, Tab) ->
    cets:stop(Tab);
close(Contender, Tab) when Contender =:= mnesia; Contender =:= mnesia_sync ->
    {atomic, ok} = mnesia:delete_table(Tab),
    ok;
close(_, Tab) ->
    gen_server:stop(Tab).

%% The table of this contender that holds so many records of a kind; it is made on first use and stays.
-spec filled(contender(), type(), ferrets_bench_record:kind(), pos_integer()) -> Tab :: atom().
filled(Contender, Type, Kind, Size) ->
    Tab = list_to_atom(lists:concat([Contender, $_, Type, $_, Kind, $_, Size])),
    case is_there(Contender, Tab) of
        true ->
            Tab;
        false ->
            ok = open(Contender, Tab, Type),
            ok = fill(Contender, Tab, Kind, ferrets_bench_record:other_order(Size)),
            Tab
    end.

-spec is_there(contender(), atom()) -> boolean().
is_there(Contender, Tab) when Contender =:= mnesia; Contender =:= mnesia_sync ->
    mnesia:system_info(is_running) =:= yes andalso lists:member(Tab, mnesia:system_info(tables));
is_there(_, Tab) ->
    whereis(Tab) =/= undefined.

%% Inserts the records of these numbers, a thousand at a time, from a process whose garbage goes with it.
-spec fill(contender(), atom(), ferrets_bench_record:kind(), [pos_integer()]) -> ok.
fill(Contender, Tab, Kind, Numbers) ->
    InsertMany = call(Contender, insert_many),
    Chunks = ferrets_bench_timing:chunks(?CHUNK, Numbers),
    ferrets_bench_timing:aside(fun() ->
        lists:foreach(fun(Chunk) -> InsertMany(Tab, ferrets_bench_record:records(Kind, Chunk)) end, Chunks)
    end).

%% ---------------------------------------------------------------- calls

-spec call(contender(), insert | insert_many | insert_new | lookup | drain) -> call().
call(ferrets, insert) -> fun ferrets:insert/2;
call(ferrets, insert_many) -> fun ferrets:insert_many/2;
call(ferrets, insert_new) -> fun ferrets:insert_new/2;
call(ferrets, lookup) -> fun ferrets:lookup/2;
call(ferrets, drain) -> fun(Tab, _) -> ok = ferrets:ping_all(Tab) end;
call(cets, insert) -> fun cets:insert/2;
call(cets, insert_many) -> fun cets:insert_many/2;
call(cets, insert_new) -> fun cets:insert_new/2;
call(cets, drain) -> fun(Tab, _) -> ok = cets:ping_all(Tab) end;
call(ets, Insert) when Insert =:= insert; Insert =:= insert_many -> fun ets:insert/2;
call(server, Insert) when Insert =:= insert; Insert =:= insert_many -> fun insert_by_server/2;
call(Contender, lookup) when Contender =/= mnesia, Contender =/= mnesia_sync -> fun ets:lookup/2;
call(mnesia, insert) -> fun mnesia_write/2;
call(mnesia, insert_many) -> fun mnesia_write_many/2;
call(mnesia_sync, insert) -> fun mnesia_write_sync/2;
call(mnesia_sync, insert_many) -> fun mnesia_write_many_sync/2;
call(mnesia_sync, insert_new) -> fun mnesia_write_new/2;
%% Writes of one node reach another in their order, so when this one is there the others are.
call(Mnesia, drain) when Mnesia =:= mnesia; Mnesia =:= mnesia_sync -> fun mnesia_write_sync/2.

-spec insert_by_server(atom(), tuple() | [tuple()]) -> true.
insert_by_server(Tab, Records) ->
    gen_server:call(Tab, {insert, Records}, infinity).

-spec mnesia_write(atom(), tuple()) -> ok.
mnesia_write(Tab, {Key, Value}) ->
    mnesia:dirty_write(Tab, {record, Key, Value}).

-spec mnesia_write_sync(atom(), tuple()) -> ok.
mnesia_write_sync(Tab, {Key, Value}) ->
    mnesia:sync_dirty(fun() -> mnesia:write(Tab, {record, Key, Value}, write) end).

-spec mnesia_write_many(atom(), [tuple()]) -> ok.
mnesia_write_many(Tab, Records) ->
    mnesia:async_dirty(fun() -> write_each(Tab, Records) end).

-spec mnesia_write_many_sync(atom(), [tuple()]) -> ok.
mnesia_write_many_sync(Tab, Records) ->
    mnesia:sync_dirty(fun() -> write_each(Tab, Records) end).

-spec write_each(atom(), [tuple()]) -> ok.
write_each(Tab, Records) ->
    lists:foreach(fun({Key, Value}) -> mnesia:write(Tab, {record, Key, Value}, write) end, Records).

%% Nothing dirty can say whether it was first.
-spec mnesia_write_new(atom(), tuple()) -> boolean().
mnesia_write_new(Tab, {Key, Value}) ->
    {atomic, IsNew} = mnesia:transaction(fun() ->
        case mnesia:read(Tab, Key, write) of
            [] -> mnesia:write(Tab, {record, Key, Value}, write) =:= ok;
            [_] -> false
        end
    end),
    IsNew.

%% Whether Ferrets has such a function yet.
-spec is_built(atom(), arity()) -> boolean().
is_built(Function, Arity) ->
    {module, _} = code:ensure_loaded(ferrets),
    erlang:function_exported(ferrets, Function, Arity).

-spec title(contender()) -> string().
title(ferrets) -> "ferrets";
title(ets) -> "`ets`";
title(server) -> "`ets` behind a gen_server";
title(mnesia) -> "mnesia `dirty_write`";
title(mnesia_sync) -> "mnesia `sync_dirty`";
title(cets) -> "cets".

%% ---------------------------------------------------------------- the gen_server that owns an `ets' table

-spec init({atom(), type()}) -> {ok, atom()}.
init({Tab, Type}) ->
    {ok, ets:new(Tab, [named_table, public, Type])}.

-spec handle_call({insert, tuple() | [tuple()]}, gen_server:from(), atom()) -> {reply, true, atom()}.
handle_call({insert, Records}, _From, Tab) ->
    {reply, ets:insert(Tab, Records), Tab}.

-spec handle_cast(term(), atom()) -> {noreply, atom()}.
handle_cast(_, Tab) ->
    {noreply, Tab}.
