//! A lock-free table of flow pairs with ageing.
