//! The data plane from outside: raw bytes in, raw bytes out, a real store, a scripted provider.

mod proxy {
    mod answers;
    mod bypass;
    mod bypass_models;
    mod bypass_parameters;
    mod bypass_paths;
    mod charges;
    mod connections;
    mod cors;
    mod echo;
    mod ends;
    mod exact;
    mod forwarding;
    mod hostile;
    mod http2;
    mod metered;
    mod named;
    mod rates;
    mod recorded;
    mod rig;
    mod scope;
    mod scope_limits;
    mod stopping;
    mod streams;
    mod websockets;
}
