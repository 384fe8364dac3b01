%%% The application: proves that the native library is there, and that it is the one this code was written for.
%%%
%%% Tables do not live under it: they live in the supervision trees of those who start them, and work without the
%%% application being started. What `application:start(ferrets)' adds is an early and clear error, in place of `undef' at
%%% the first call.
-module(ferrets_app).

-behaviour(application).
-behaviour(supervisor).

-export([start/2, stop/1]).
-export([init/1]).

-export_type([error/0]).

-type error() ::
    {native_library_missing, #{path := file:filename_all(), reason := string()}}
    | {native_library_stale, #{path := file:filename_all(), expected := pos_integer(), found => pos_integer()}}
    | {native_library_refused, #{path := file:filename_all(), reason := term()}}.

-spec start(application:start_type(), term()) -> {ok, pid()} | {error, error()}.
start(_Type, _Arguments) ->
    case check_library() of
        ok -> start_supervisor();
        {error, _} = Error -> Error
    end.

-spec stop(term()) -> ok.
stop(_State) ->
    ok.

%% An application needs a supervisor. This one has nobody to look after.
-spec init([]) -> {ok, {supervisor:sup_flags(), []}}.
init([]) ->
    {ok, {#{}, []}}.

-spec start_supervisor() -> {ok, pid()}.
start_supervisor() ->
    {ok, _} = supervisor:start_link({local, ferrets_sup}, ?MODULE, []).

-spec check_library() -> ok | {error, error()}.
check_library() ->
    Expected = ferrets_library:abi(),
    try ferrets_nif:abi() of
        Expected -> ok;
        Found -> {error, {native_library_stale, #{path => ferrets_library:path(), expected => Expected, found => Found}}}
    catch
        %% A module whose library does not load is not loaded either.
        error:undef -> {error, explain(ferrets_library:path(), Expected)}
    end.

%% Why `ferrets_nif' did not load its library: its own attempt has only left a line in the log. A second attempt in the
%% name of this module must fail too, and tells a library that cannot be opened from one that can, which must then be
%% one that refused the ABI number.
-spec explain(file:filename_all(), pos_integer()) -> error().
explain(Path, Expected) ->
    case erlang:load_nif(Path, Expected) of
        {error, {load_failed, Text}} -> {native_library_missing, #{path => Path, reason => Text}};
        {error, {bad_lib, _}} -> {native_library_stale, #{path => Path, expected => Expected}};
        Other -> {native_library_refused, #{path => Path, reason => Other}}
    end.
