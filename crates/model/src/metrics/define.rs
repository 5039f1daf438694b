//! The parts that all metrics have alike.

/// A metric's struct: its name in logs, its options with defaults, and a setter for each. `required` ones are given to a `new` of their own.
macro_rules! metric {
    ($(#[$doc:meta])* $class:ident $label:literal {
        $($(#[$set:meta])* $field:ident: $ty:ty = $default:expr, $arg:ty => $convert:expr;)*
    }) => {
        metric!(required $(#[$doc])* $class $label {} { $($(#[$set])* $field: $ty = $default, $arg => $convert;)* });

        impl $class {
            /// The metric with its defaults.
            pub fn new() -> Self {
                Self::default()
            }
        }
    };
    (required $(#[$doc:meta])* $class:ident $label:literal { $($must:ident: $must_ty:ty = $none:expr;)* } {
        $($(#[$set:meta])* $field:ident: $ty:ty = $default:expr, $arg:ty => $convert:expr;)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
        #[serde(default)]
        pub struct $class {
            name: String,
            $($must: $must_ty,)*
            $($field: $ty,)*
        }

        impl Default for $class {
            fn default() -> Self {
                $class { name: $label.into(), $($must: $none,)* $($field: $default,)* }
            }
        }

        impl $class {
            /// Another name in logs.
            #[must_use]
            pub fn named(mut self, name: impl Into<String>) -> Self {
                self.name = name.into();
                self
            }

            $($(#[$set])*
            #[must_use]
            pub fn $field(mut self, $field: $arg) -> Self {
                self.$field = ($convert)($field);
                self
            })*
        }
    };
}

/// Name, configuration and direction of such a metric.
macro_rules! described {
    ($direction:expr) => {
        fn name(&self) -> String {
            self.name.clone()
        }

        fn config(&self) -> ibex_core::Result<crate::config::Config> {
            crate::config::save(self)
        }

        fn direction(&self) -> Option<bool> {
            $direction
        }
    };
}

pub(super) use {described, metric};
