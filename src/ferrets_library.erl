%%% Where the native library lies, and the interface that this code wants it to have.
-module(ferrets_library).

-export([path/0, abi/0]).

%% Without the extension, as `erlang:load_nif/2' has it. The code may lie in a folder that is not called `ferrets'.
-spec path() -> file:filename_all().
path() ->
    Priv =
        case code:priv_dir(ferrets) of
            {error, bad_name} -> filename:join(filename:dirname(filename:dirname(code:which(?MODULE))), "priv");
            Dir -> Dir
        end,
    filename:join(Priv, "ferrets_nif").

%% Raised by both sides together whenever a call's name, arity, arguments or meaning change.
-spec abi() -> pos_integer().
abi() -> 8.
